"""Arrivals: what has come, what of it is done, and up to where all of it is."""

from __future__ import annotations

from collections import OrderedDict

REMEMBERED = 10_000
"""Cursors kept to recognise what comes again."""


class Arrival:
    """One event that has come. `done` once the user is through with it."""

    __slots__ = ("_after", "_before", "_rank", "_reach", "_reach_rank", "_tracked", "cursor", "done")

    def __init__(self, cursor: str, rank: int) -> None:
        self.cursor = cursor
        self.done = False
        self._rank = rank
        self._tracked = False
        self._before: Arrival | None = None
        self._after: Arrival | None = None
        # The last of those directly behind this one that are done already.
        self._reach = cursor
        self._reach_rank = rank


class Arrivals:
    """The order of arrival, with what is done merged away: as many entries as there are events in hand.

    Events come in order within a lane, and more urgent lanes overtake. Acknowledging follows the order of
    arrival; whoever keeps the log knows what was overtaken.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._known: OrderedDict[str, Arrival] = OrderedDict()
        self._remembered = remembered
        self._first: Arrival | None = None
        self._last: Arrival | None = None
        self._position: str | None = None
        self._rank = self._lowest_lane = 0
        self._blocked = False
        self._moves = 0

    @property
    def position(self) -> str | None:
        """The cursor up to which everything that came is done; None before anything is."""
        return self._position

    @property
    def certain(self) -> str | None:
        """The position, if nothing of a lower lane can have been overtaken there; else None."""
        return self._position if self._rank >= self._lowest_lane else None

    @property
    def moves(self) -> int:
        """Counts the changes of `position`."""
        return self._moves

    def came(self, cursor: str, rank: int) -> Arrival | None:
        """Note an arrival; None if it came before. `rank` is that of its lane, 0 the most urgent."""
        known = self._known.get(cursor)
        if known is not None:
            self._came_again(known)
            return None
        arrival = self._known[cursor] = Arrival(cursor, rank)
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)
        self._lowest_lane = max(self._lowest_lane, rank)
        self._track(arrival)
        return arrival

    def is_known(self, cursor: str) -> bool:
        return cursor in self._known

    def finish(self, arrival: Arrival) -> None:
        """The user is through with it."""
        if arrival.done:
            return
        arrival.done = True
        if arrival._tracked:
            self._merge_away(arrival)

    def leave_out(self) -> None:
        """An event could not be kept and must come again: nothing from here on counts until `resume`."""
        self._blocked = True

    def resume(self) -> None:
        """What comes from now on follows `position` again without a hole."""
        self._blocked = False

    def restart(self) -> None:
        """Positions known so far mean nothing any more: the log could not be read on."""
        while self._first is not None:
            self._unlink(self._first)
        self._position = None
        self._blocked = False

    def _came_again(self, arrival: Arrival) -> None:
        if arrival._tracked or self._blocked:
            return
        self._track(arrival)
        if arrival.done:
            self._merge_away(arrival)

    def _track(self, arrival: Arrival) -> None:
        if self._blocked:
            return
        arrival._tracked = True
        arrival._before = self._last
        if self._last is None:
            self._first = arrival
        else:
            self._last._after = arrival
        self._last = arrival

    def _merge_away(self, arrival: Arrival) -> None:
        before = arrival._before
        if before is None:
            self._position, self._rank = arrival._reach, arrival._reach_rank
            self._moves += 1
        else:
            before._reach, before._reach_rank = arrival._reach, arrival._reach_rank
        self._unlink(arrival)

    def _unlink(self, arrival: Arrival) -> None:
        before, after = arrival._before, arrival._after
        if before is None:
            self._first = after
        else:
            before._after = after
        if after is None:
            self._last = before
        else:
            after._before = before
        arrival._before = arrival._after = None
        arrival._tracked = arrival.done
