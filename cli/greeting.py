"""What `up` tells the person in front of it once everything runs."""

from __future__ import annotations

from pathlib import Path

from backchannel.home import Platform
from cli.listen import is_loopback
from cli.terminal import Terminal


def greet(terminal: Terminal, platform: Platform, folder: Path, seconds: float) -> None:
    """On stderr: where to connect, how to get a token, and what to beware of."""
    name = terminal.paint("Backchannel", "green", err=True)
    terminal.say(f"{name} serves after {seconds:.1f} s. Ctrl-C stops everything.")
    terminal.say(f"  agents   {platform.ws}   {platform.nats}")
    terminal.say(f"  http     {platform.http}/health")
    terminal.say(f"  groups   {', '.join(platform.groups)}")
    terminal.say(f"  data     {folder}")
    terminal.say(f"  token    backchannel token create NAME --data {folder}")
    if platform.tls_cert is None and not is_loopback(platform.host):
        warning = terminal.paint("warning:", "yellow", err=True)
        terminal.say(
            f"{warning} {platform.host} can be reached from other machines, and tokens travel unencrypted. "
            "Give it a certificate with --tls-cert and --tls-key, or put a proxy with TLS in front."
        )
