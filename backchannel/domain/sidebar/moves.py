"""The table of moves between the ten statuses; every other account of them is made from it."""

from __future__ import annotations

from collections.abc import Mapping

from backchannel.errors import IllegalTransition
from backchannel.protocol.sidebar_status import SidebarStatus as S

MOVES: Mapping[S, frozenset[S]] = {
    S.ACTIVE: frozenset(S) - {S.ACTIVE},
    S.TESTING: frozenset(
        {S.ACTIVE, S.PAUSED, S.WAITING, S.REVIEWING, S.CONSOLIDATING, S.MERGED, S.ARCHIVED, S.FAILED}
    ),
    S.PAUSED: frozenset({S.ACTIVE, S.ARCHIVED, S.FAILED}),
    S.WAITING: frozenset({S.ACTIVE, S.PAUSED, S.REVIEWING, S.ARCHIVED, S.FAILED}),
    S.REVIEWING: frozenset(
        {S.ACTIVE, S.TESTING, S.PAUSED, S.WAITING, S.CONSOLIDATING, S.MERGED, S.ARCHIVED, S.FAILED}
    ),
    S.SPAWNING_CHILD: frozenset(
        {S.ACTIVE, S.PAUSED, S.WAITING, S.CONSOLIDATING, S.MERGED, S.ARCHIVED, S.FAILED}
    ),
    S.CONSOLIDATING: frozenset({S.ACTIVE, S.REVIEWING, S.MERGED, S.ARCHIVED, S.FAILED}),
    S.MERGED: frozenset({S.ARCHIVED}),
    S.ARCHIVED: frozenset(),
    S.FAILED: frozenset({S.ARCHIVED}),
}
"""Where a sidebar may go from where it stands. What is archived comes back only as a fork."""

TERMINAL: frozenset[S] = frozenset({S.MERGED, S.ARCHIVED, S.FAILED})
"""Statuses in which a sidebar takes no more messages and counts as ended for its parent."""


def legal(old: S, new: S) -> bool:
    return new in MOVES[old]


def require_move(sidebar_id: str, old: S, new: S) -> None:
    """
    Raises:
        IllegalTransition: the table does not have this move; the message lists those it has.
    """
    if legal(old, new):
        return
    possible = ", ".join(status.value for status in S if status in MOVES[old])
    rest = f"from there it can only become {possible}" if possible else "it can only be forked"
    raise IllegalTransition(
        f"The sidebar {sidebar_id} is {old.value} and cannot become {new.value}; {rest}.", field="sidebar_id"
    )
