"""Why a nats-server ended at its start, in one sentence, from what it wrote."""

from __future__ import annotations

import re
from pathlib import Path

_STAMP = re.compile(r"^\[\d+\] \S+ \S+ \[[A-Z]+\] ")


def cause(said: str, host: str, port: int, store: Path, log: Path) -> str:
    """The sentence for the person who started it: what is wrong and what to do."""
    line = _last_words(said)
    match line.lower():
        case text if "address already in use" in text:
            return (
                f"Port {port} on {host} is taken by another program: stop that one, "
                "or choose another port with --nats-port."
            )
        case text if "cannot assign requested address" in text or "no such host" in text:
            return f"This machine has no address {host}: give one of its own with --host."
        case text if "permission denied" in text and "listen" in text:
            return f"This user may not listen on port {port}: choose one above 1023 with --nats-port."
        case text if (
            "storage directory" in text or "no space left" in text or "read-only file system" in text
        ):
            return (
                f"nats-server cannot write its store {store} ({line}): make room or make it writable "
                "for this user, or choose another data folder."
            )
    return f"nats-server ended at its start ({line or 'it wrote nothing'}); more may be in {log}."


def _last_words(said: str) -> str:
    """The last fatal line if there is one, else the last line, without its time stamp."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    fatal = [line for line in lines if "[FTL]" in line]
    last = (fatal or lines or [""])[-1]
    return _STAMP.sub("", last).rstrip(".")
