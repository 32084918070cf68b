"""Arrivals: what has come, what of it is done, and up to which position all of it is."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from backchannel.delivery.cursor import Cursor
from backchannel.errors import BadMessage

REMEMBERED = 10_000
"""Cursors kept to recognise what comes again."""


class Reach(NamedTuple):
    """A position up to which all is done: its place in the log, its cursor, the rank of its lane."""

    order: int
    cursor: str
    rank: int


class Arrival:
    """One event that has come. `done` once the user is through with it."""

    __slots__ = ("after", "at", "before", "done", "reach", "tracked")

    def __init__(self, at: Reach) -> None:
        self.at = at
        self.done = False
        self.tracked = False
        self.before: Arrival | None = None
        self.after: Arrival | None = None
        # Up to where all is done once this is: beyond it, if those behind it were done earlier.
        self.reach = at


class Arrivals:
    """What is in hand, in the order of the log, with what is done merged away.

    There are as many entries as there are events in hand, whatever was done behind them. A more urgent event
    may come before its turn; the position waits for what it overtook as soon as that comes.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._known: OrderedDict[str, Arrival] = OrderedDict()
        self._remembered = remembered
        self._first: Arrival | None = None
        self._last: Arrival | None = None
        self._hole: Arrival | None = None
        self._reach: Reach | None = None
        self._lowest_lane = 0
        self._highest = 0
        self._moves = 0

    def __len__(self) -> int:
        count, entry = 0, self._first
        while entry is not None:
            count, entry = count + 1, entry.after
        return count

    @property
    def position(self) -> str | None:
        """The cursor up to which everything that came is done; None where that is not known."""
        return self._reach.cursor if self._reach else None

    @property
    def certain(self) -> str | None:
        """The position, if nothing of a lower lane can have been overtaken there and be still on its way."""
        return self._reach.cursor if self._reach and self._reach.rank >= self._lowest_lane else None

    @property
    def moves(self) -> int:
        """Counts the advances of `position`."""
        return self._moves

    def came(self, cursor: str, rank: int) -> Arrival | None:
        """Note an arrival; None if it came before. `rank` is that of its lane, 0 the most urgent."""
        place = _place(cursor)
        known = self._known.get(place)
        if known is not None:
            self._came_again(known)
            return None
        arrival = self._known[place] = Arrival(Reach(self._order(cursor), cursor, rank))
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)
        self._lowest_lane = max(self._lowest_lane, rank)
        self._track(arrival)
        return arrival

    def is_known(self, cursor: str) -> bool:
        return _place(cursor) in self._known

    def finish(self, arrival: Arrival) -> None:
        """The user is through with it."""
        if arrival.done:
            return
        arrival.done = True
        if arrival.tracked:
            self._merge_away(arrival)

    def leave_out(self, cursor: str | None = None) -> None:
        """The event at `cursor`, or some unknown one, must come again: the position stays before it."""
        order = self._highest + 1 if cursor is None else self._order(cursor)
        if self._hole is not None:
            if self._hole.at.order <= order:
                return
            self._unlink(self._hole)
        self._hole = Arrival(Reach(order, "", 0))
        self._link(self._hole)

    def resume(self) -> None:
        """What comes from now on follows `position` again, and nothing is missing."""
        if self._hole is not None:
            self._unlink(self._hole)
            self._hole = None

    def restart(self) -> None:
        """Positions known so far mean nothing any more: the log could not be read on."""
        while self._first is not None:
            self._unlink(self._first)
        self._hole = self._reach = None
        self._highest = 0

    def _order(self, cursor: str) -> int:
        try:
            return Cursor.parse(cursor).sequence
        except BadMessage:  # Not one of ours; then the order of arrival has to do.
            return self._highest + 1

    def _came_again(self, arrival: Arrival) -> None:
        if arrival.tracked:
            return
        self._track(arrival)
        if arrival.done and arrival.tracked:
            self._merge_away(arrival)

    def _track(self, arrival: Arrival) -> None:
        if self._hole is None:
            arrival.tracked = True
            self._link(arrival)
        elif arrival.at.order < self._hole.at.order:
            self.leave_out(arrival.at.cursor)

    def _link(self, arrival: Arrival) -> None:
        """Into its place; nearly always that is the last one."""
        self._highest = max(self._highest, arrival.at.order)
        before = self._last
        while before is not None and before.at.order > arrival.at.order:
            before = before.before
        after = self._first if before is None else before.after
        arrival.before, arrival.after = before, after
        if before is None:
            self._first = arrival
        else:
            before.after = arrival
        if after is None:
            self._last = arrival
        else:
            after.before = arrival
        self._take_reach(before, arrival)

    def _take_reach(self, before: Arrival | None, arrival: Arrival) -> None:
        """What is done beyond the newcomer now hangs on it, and no longer on what stands before it."""
        if before is None:
            if self._reach is not None and self._reach.order > arrival.at.order:
                arrival.reach, self._reach = self._reach, None
        elif before.reach.order > arrival.at.order:
            arrival.reach, before.reach = before.reach, before.at

    def _merge_away(self, arrival: Arrival) -> None:
        before = arrival.before
        if before is None:
            self._reach = arrival.reach
            self._moves += 1
        else:
            before.reach = arrival.reach
        self._unlink(arrival)

    def _unlink(self, arrival: Arrival) -> None:
        before, after = arrival.before, arrival.after
        if before is None:
            self._first = after
        else:
            before.after = after
        if after is None:
            self._last = before
        else:
            after.before = before
        arrival.before = arrival.after = None
        arrival.tracked = arrival.done


def _place(cursor: str) -> str:
    """An event has one place in the log, although its cursor says more if it overtook others."""
    return ".".join(cursor.split(".", 2)[:2])
