"""The stage of one connection: which events it is given now, which later, which only as a number."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import merge
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from backchannel.delivery.outbox import Bounds
from backchannel.delivery.quality import PERIODS, Preference
from backchannel.delivery.subscription import Choice
from backchannel.delivery.traits import Traits
from backchannel.delivery.warmup import EVERYTHING, Warmup, stage_of

MOST_TOPICS = 100


class Placed(Protocol):
    """An event at its position, and its length in bytes."""

    @property
    def sequence(self) -> int: ...
    @property
    def size(self) -> int: ...


P = TypeVar("P", bound=Placed)


@dataclass(slots=True)
class Tally:
    """What is told in numbers instead of being sent, from position `first` to `last`."""

    first: int
    last: int = 0
    count: int = 0
    types: Counter[str] = field(default_factory=Counter)
    contexts: Counter[str] = field(default_factory=Counter)
    topics: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, sequence: int, one: Traits) -> None:
        self.last = sequence
        self.count += 1
        self.types[one.type] += 1
        if one.context is not None and (one.context in self.contexts or len(self.contexts) < MOST_TOPICS):
            self.contexts[one.context] += 1
        if one.topic is not None and (one.topic in self.topics or len(self.topics) < MOST_TOPICS):
            self.topics[one.topic] = self.topics.get(one.topic, (0, 0))[0] + 1, sequence


class Stage(Generic[P]):
    """Sorts what a connection may see. What it holds back has not been sent: `lowest` says where that begins.

    Events are offered in log order. What waits is given in log order too; only what must not wait overtakes.
    Nothing is left out here: who has too much waiting is given it early, and is `overfull` if that does not
    help. Times are seconds.

    Attributes:
        choice: what the agent wants at all; None for everything.
        preference: what to do while the line is `slow`; None if it said nothing of that.
    """

    def __init__(self, agent: str, bounds: Bounds) -> None:
        self.choice: Choice | None = None
        self.preference: Preference | None = None
        self.warmup: Warmup | None = None
        self.slow = False
        self._agent = agent
        self._bounds = bounds
        self._spared: deque[tuple[P, int]] = deque()  # what the warm-up spares it, and until which stage
        self._held: deque[P] = deque()
        self._length = 0
        self._tally: Tally | None = None
        self._due: float | None = None

    def __len__(self) -> int:
        """How many events are kept here."""
        return len(self._held) + len(self._spared)

    @property
    def idle(self) -> bool:
        """It does nothing, and holds nothing."""
        asked = (self.choice, self.preference, self.warmup, self._tally)
        return not len(self) and all(one is None for one in asked)

    @property
    def lowest(self) -> int | None:
        """The first position that was neither sent nor told of."""
        first = [self._held[0].sequence] if self._held else []
        if self._spared:
            first.append(self._spared[0][0].sequence)
        if self._tally is not None:
            first.append(self._tally.first)
        return min(first, default=None)

    @property
    def overfull(self) -> bool:
        """More is kept than may ever be."""
        return len(self) > self._bounds.hard_events or self._length > self._bounds.hard_length

    def wants(self, one: Traits) -> bool:
        return self.choice is None or self.choice.wants(one)

    def passes(self, item: P, one: Traits, now: float, *, history: bool = False) -> bool:
        """Whether an event is sent at once; if not, it is kept here, counted, or not wanted."""
        if not self.wants(one):
            return False
        if self.warmup is not None:
            stage = stage_of(one, self._agent, history=history)
            if stage > self.warmup.stage(now):
                self._spare(item, stage, now)
                return False
        return history or self._passes_line(item, one, now)

    def _spare(self, item: P, stage: int, now: float) -> None:
        self._spared.append((item, stage))
        self._length += item.size
        if self._much:
            self.finish_warmup(now)

    def _passes_line(self, item: P, one: Traits, now: float) -> bool:
        wish = self.preference
        if wish is not None and self.slow:
            if wish.at_once(one):
                return True
            self._due = self._due or now + PERIODS[wish.mode]
            if wish.mode == "summaries" and not self._held:
                self._tally = self._tally or Tally(item.sequence)
                self._tally.add(item.sequence, one)
                return False
        elif not self._held or one.urgent or one.personal:
            return True
        self._hold(item, now)
        return False

    def _hold(self, item: P, now: float) -> None:
        self._held.append(item)
        self._length += item.size
        if self._much:
            self._due = now

    @property
    def _much(self) -> bool:
        return len(self) >= self._bounds.events or self._length > self._bounds.length

    # ---- time

    def turn(self, slow: bool, now: float) -> None:
        """The line is slow, or good, from now on; when it is good, what was held back is due."""
        self.slow = slow
        if not slow or self.preference is None:
            self.release(now)

    def release(self, now: float) -> None:
        """What the line held back is due."""
        self._due = now
        self._settle()

    def finish_warmup(self, now: float) -> None:
        self.warmup = None
        self._warm_up(EVERYTHING, now)

    def look(self, now: float) -> None:
        """Time went by: what the warm-up spared may be due."""
        if self.warmup is None:
            return
        stage = self.warmup.stage(now)
        if stage >= EVERYTHING:
            self.warmup = None
        self._warm_up(stage, now)

    def _warm_up(self, stage: int, now: float) -> None:
        ready = [item for item, until in self._spared if until <= stage]
        if ready:
            self._spared = deque(one for one in self._spared if one[1] > stage)
            self._held = deque(merge(self._held, ready, key=attrgetter("sequence")))
            self._due = now

    # ---- what is due

    def take(self, now: float, length: int) -> Sequence[P]:
        """What is due of the events that wait, oldest first: as many as have so many bytes, at least one."""
        taken: list[P] = []
        if self._due is None or now < self._due:
            return taken
        total = 0
        while self._held and (not taken or total + self._held[0].size <= length):
            item = self._held.popleft()
            total += item.size
            taken.append(item)
        self._length -= total
        self._settle()
        return taken

    def told(self, now: float) -> Tally | None:
        """The numbers that are due."""
        if self._tally is None or self._due is None or now < self._due:
            return None
        told, self._tally = self._tally, None
        self._settle()
        return told

    def _settle(self) -> None:
        if not self._held and self._tally is None:
            self._due = None
