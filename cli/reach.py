"""Finding the platform of the settings, and connecting to it."""

from __future__ import annotations

from backchannel.home import Home, NotRunning, Platform, Role, Settings
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.logger import Logger


def running(home: Home) -> Platform:
    """The platform that serves from a data folder. Raises NotRunning."""
    if not home.serving():
        raise NotRunning(
            f"No platform runs in {home.path}. Start one with: backchannel up --data {home.path}"
        )
    return home.platform()


async def reach(settings: Settings, *, wait: float, role: Role = "operator") -> Connection:
    """Connect to where the settings say. Raises NotRunning, Unavailable, Forbidden."""
    hush()
    if isinstance(settings, Home):
        platform = running(settings)
        url, certificate = platform.nats, platform.nats_cert
    else:
        runtime = settings.runtime()
        url, certificate = runtime.nats, runtime.nats_cert
    user, password = settings.nats_login(role)
    return await Connection.open(Address(url, user, password, certificate), name="cli", wait=wait)


def hush() -> None:
    """The library's log is for servers; stdout of a command belongs to its result."""
    Logger.silent = True
