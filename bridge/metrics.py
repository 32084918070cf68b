"""What a bridge counts and measures, and how Prometheus reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from backchannel.errors import BY_CODE
from backchannel.protocol.lane import LANES
from bridge.meter import OTHER, Count, Labelled, Level, Spread

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
BYTES = (64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)
CLOSE_CODES = (
    *(1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013),
    *(4008, 4400, 4401, 4403, 4408, 4409, 4410, 4429),
)
TURNED_AWAY = (
    *("bad_request", "bad_path", "bad_method", "bad_handshake", "head_too_large", "head_too_slow"),
    *("not_serving", "too_many", "too_many_from_address", "too_many_unauthenticated"),
    "too_fast_from_address",
    "gave_way",
    "body_too_slow",
    *(
        "wrong_host",
        "wrong_origin",
        "no_token",
        "several_tokens",
        "bad_token",
        "expired",
        "wrong_group",
        "revoked",
        "sent_away",
        "no_nonce",
    ),
)
PERMISSIONS = ("active", "observer")
OUTCOMES = ("resumed", "gap", "live_only")
Meter = Count | Level | Spread | Labelled[Count] | Labelled[Level]
Kept = TypeVar("Kept", Count, Level, Spread, Labelled[Count], Labelled[Level])


class Metrics(Collector):
    """Every meter of one bridge process; each belongs to its event loop."""

    def __init__(self) -> None:
        self._families: list[tuple[str, str, Meter]] = []
        self._connections()
        self._messages()
        self._log()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def _connections(self) -> None:
        self.connections = self._levels("connections", "Connections in use.", "permission", PERMISSIONS)
        self.sockets = self._level("sockets", "TCP connections of any kind.")
        self.opened = self._count("connections_opened", "WebSockets accepted.")
        self.closed = self._counts(
            "connections_closed", "WebSockets gone, by close code.", "code", CLOSE_CODES
        )
        self.turned_away = self._counts(
            "upgrade_refusals", "Connections refused before they were one.", "reason", TURNED_AWAY
        )
        self.resumes = self._counts("resumes", "Connections by how they began.", "outcome", OUTCOMES)
        self.connect_seconds = self._spread(
            "connect_seconds", "From a TCP connection to an accepted handshake.", SECONDS
        )
        self.round_trip = self._spread("round_trip_seconds", "From ping to pong.", SECONDS)

    def _messages(self) -> None:
        self.received = self._count("messages_received", "Messages from clients.")
        self.received_bytes = self._count("received_bytes", "Bytes of messages from clients.")
        self.sent = self._count(
            "frames_sent", "Pieces of output written to clients; one may hold many frames."
        )
        self.sent_bytes = self._count("sent_bytes", "Bytes written to clients.")
        self.deflated = self._count("deflated_bytes", "Bytes of shared frames that compression saved.")
        self.size = self._spread("message_size_bytes", "Size of messages from clients.", BYTES)
        self.delivered = self._count("events_delivered", "Events written to connections.")
        self.refused = self._counts("refusals", "Messages refused, by error code.", "code", tuple(BY_CODE))
        self.duplicates = self._count("duplicates", "Messages that were stored before.")
        self.caught_up = self._count("catch_up_events", "Events replayed to returning clients.")
        self.dropped = self._counts("dropped_events", "Events left out for slow readers.", "lane", LANES)
        self.outbox = self._level("outbox_events", "Events waiting for congested connections.")
        self.accept_seconds = self._spread("accept_seconds", "From a frame's arrival to stored.", SECONDS)
        self.delivery_seconds = self._spread("delivery_seconds", "From stored to written; sampled.", SECONDS)

    def _log(self) -> None:
        self.tail_lag = self._levels(
            "tail_lag_messages", "How far the tail is behind.", "group", (), most=1000
        )
        self.stream_bytes = self._levels("stream_bytes", "Bytes in a stream.", "stream", (), most=1000)
        self.stream_most = self._levels(
            "stream_max_bytes", "Bytes that a stream may have; -1: any number.", "stream", (), most=1000
        )
        self.in_flight = self._level("publishes_in_flight", "Publishes without an answer yet.")
        self.loop_lag = self._level("loop_lag_seconds", "How late the event loop's last timer was.")
        self.loop_lags = self._spread("loop_lag_spread_seconds", "How late the loop's timers were.", SECONDS)

    def text(self) -> bytes:
        """All of it in Prometheus' text format. Takes milliseconds: not for the loop's own thread."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        for name, about, meter in self._families:
            yield _family(f"backchannel_{name}", about, meter)

    def _count(self, name: str, about: str) -> Count:
        return self._keep(name, about, Count())

    def _level(self, name: str, about: str) -> Level:
        return self._keep(name, about, Level())

    def _spread(self, name: str, about: str, bounds: tuple[float, ...]) -> Spread:
        return self._keep(name, about, Spread(bounds))

    def _counts(self, name: str, about: str, label: str, values: tuple[object, ...]) -> Labelled[Count]:
        return self._keep(name, about, Labelled(Count, label, map(str, values)))

    def _levels(
        self, name: str, about: str, label: str, values: tuple[str, ...], most: int = 0
    ) -> Labelled[Level]:
        return self._keep(name, about, Labelled(Level, label, values, most))

    def _keep(self, name: str, about: str, meter: Kept) -> Kept:
        self._families.append((name, about, meter))
        return meter


class Numbers:
    """The text, written in one thread at a time: those who ask meanwhile share the next one."""

    def __init__(self, write: Callable[[], bytes]) -> None:
        self._write = write
        self._text = b""
        self._begun = 0
        self._writing = asyncio.Lock()

    async def text(self) -> bytes:
        """As it was after this call, or later."""
        known = self._begun
        async with self._writing:
            if self._begun == known:
                self._begun += 1
                self._text = await asyncio.to_thread(self._write)
            return self._text


def _family(name: str, about: str, meter: Meter) -> Metric:
    match meter:
        case Spread():
            return HistogramMetricFamily(name, about, buckets=meter.buckets(), sum_value=meter.sum)
        case Level():
            return GaugeMetricFamily(name, about, value=meter.value)
        case Count():
            return CounterMetricFamily(name, about, value=meter.value)
        case Labelled():
            return _labelled(name, about, meter)


def _labelled(name: str, about: str, meter: Labelled[Count] | Labelled[Level]) -> Metric:
    kind = GaugeMetricFamily if meter.kind is Level else CounterMetricFamily
    family = kind(name, about, labels=[meter.label])
    for value, one in list(meter.meters.items()):  # a copy: the loop may add a label meanwhile
        if value != OTHER or one.value:
            family.add_metric([value], one.value)
    return family
