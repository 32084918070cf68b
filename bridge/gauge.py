"""The gauge: how full each stream is, for the metrics, for /health, and once for the log."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from backchannel.jetstream.connection import Connection
from backchannel.jetstream.topology import fills
from bridge.metrics import Metrics

log = structlog.get_logger("bridge.gauge")


class Gauge:
    """Looks from time to time. `warnings` are sentences for the person on call, while they are true."""

    def __init__(self, connection: Connection, groups: Sequence[str], metrics: Metrics) -> None:
        self.warnings: list[str] = []
        self._connection = connection
        self._groups = tuple(groups)
        self._metrics = metrics
        self._told: set[str] = set()

    async def measure(self) -> None:
        """Raises Unavailable."""
        warned, warnings = set(), []
        for fill in await fills(self._connection, self._groups):
            self._metrics.stream_bytes.labels(fill.stream).set(fill.bytes)
            self._metrics.stream_most.labels(fill.stream).set(fill.most)
            if fill.warning is not None:
                warned.add(fill.stream)
                warnings.append(fill.warning)
                if fill.stream not in self._told:
                    log.warning("stream_nearly_full", stream=fill.stream, bytes=fill.bytes, most=fill.most)
        self.warnings, self._told = warnings, warned
