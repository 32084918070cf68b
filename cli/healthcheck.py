"""`backchannel healthcheck`: an exit code and nothing else, for containers and scripts."""

from __future__ import annotations

import os

import click

from backchannel.errors import BackchannelError
from backchannel.home import Home
from backchannel.tls import trusting
from cli.failure import CHECK_FAILED, DONE, UNREACHABLE
from cli.group import Command
from cli.health import ask_health, http_of
from cli.option import Duration, data_option

DEFAULT_PORT = "8002"


@click.command(cls=Command)
@click.option("--live", "page", flag_value="live", help="Does the process answer?")
@click.option("--ready", "page", flag_value="ready", default="ready", help="May it be given work? (default)")
@click.option("--url", envvar="BACKCHANNEL_URL", help="Address of the bridge.")
@data_option
@click.option("--timeout", type=Duration(), default="4s", show_default=True, help="Wait so long.")
def healthcheck(page: str, url: str | None, data: str | None, timeout: int) -> int:
    """Answer by exit code alone, for containers.

    0 good, 7 bad, 5 unreachable.
    """
    if data and not url and not Home(data).serving():
        return UNREACHABLE
    http, certificate = _address(url, data)
    health = ask_health(http, timeout, f"/health/{page}", trusting(certificate))
    if health.healthy:
        return DONE
    return CHECK_FAILED if health.code else UNREACHABLE


def _address(url: str | None, data: str | None) -> tuple[str, str | None]:
    """The address given, else that of the platform in the data folder, else the usual port here.

    With it the certificate to believe, where it is known.
    """
    if url:
        return http_of(url), None
    settings = Home.from_environment(os.environ, data)
    if isinstance(settings, Home):
        try:
            platform = settings.platform()
            return platform.http, platform.tls_cert
        except BackchannelError:
            pass
    shown = os.environ.get("BACKCHANNEL_TLS_CERT") or None
    scheme = "https" if shown else "http"
    return f"{scheme}://127.0.0.1:{os.environ.get('BACKCHANNEL_PORT', DEFAULT_PORT)}", shown
