"""Where the configuration of nats-server, streams and buckets lies: in the wheel, or in the repository."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def configuration() -> Path:
    """The folder that holds ``embedded.conf``, ``streams/`` and ``buckets/``."""
    shipped = PACKAGE / "_nats"
    return shipped if shipped.is_dir() else PACKAGE.parent / "nats"
