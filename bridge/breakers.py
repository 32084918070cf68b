"""Breakers: agents whose connections here had to be given up again and again are kept out for a while."""

from __future__ import annotations

from collections.abc import Callable

from backchannel.domain.circuit import Circuit
from backchannel.domain.settings import Settings
from backchannel.protocol.frame import CloseCode

FAILURES = frozenset({CloseCode.TOO_SLOW, CloseCode.HEARTBEAT_LOST, CloseCode.RATE})
"""Ends that the bridge had to make. A line that breaks is no failure of its agent."""

STOOD = 30.0
"""Seconds after which a connection has shown that it can be relied on."""

MOST = 10_000
Owner = tuple[str, str]


class Breakers:
    """The circuits of agents with failures; who has none is not here."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._circuits: dict[Owner, Circuit] = {}

    @property
    def open(self) -> int:
        limits = self._settings().breaker
        return sum(circuit.is_open(limits) for circuit in self._circuits.values())

    def wait(self, owner: Owner, now: float) -> float:
        """Seconds for which its next connection has to wait; 0 lets this one in."""
        circuit, limits = self._circuits.get(owner), self._settings().breaker
        if circuit is None:
            return 0.0
        wait = circuit.wait(now, limits)
        if not wait:
            self._circuits[owner] = circuit.attempted(now, limits)
        return wait

    def ended(self, owner: Owner, code: int, lasted: float, now: float) -> None:
        """A connection has gone."""
        if code in FAILURES:
            circuit = self._circuits.pop(owner, Circuit())  # to the end: the longest quiet leaves first
            self._circuits[owner] = circuit.failed(now)
            if len(self._circuits) > MOST:
                del self._circuits[next(iter(self._circuits))]
        elif lasted >= STOOD:
            self._circuits.pop(owner, None)
