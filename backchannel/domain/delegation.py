"""Delegation: who is asked in place of an agent that is away, when something critical comes for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from backchannel.domain.matching import Candidate

MOST = 3
"""Agents that are asked; one of them takes it."""


def delegates(
    target: str,
    candidates: Iterable[Candidate],
    *,
    besides: Collection[str],
    among: Collection[str] | None,
    vouched: bool = True,
) -> tuple[str, ...]:
    """The agents who fit best, the least busy first; nobody if ``target`` has no specialty, or is here.

    Args:
        vouched: those who are vouched for, and may be shown what was said; or else those who only say that
            they have a specialty of the target.
        besides: who is not asked, because they sent it or were called as well.
        among: whoever may see what it is about; None for everybody.
    """
    known = {found.agent_id: found for found in candidates}
    away = known.get(target)
    if away is None or away.online:
        return ()
    fit = [
        found
        for found in known.values()
        if found.free
        and found.agent_id != target
        and found.agent_id not in besides
        and (among is None or found.agent_id in among)
        and (found.vouched if vouched else found.specialties) & away.specialties
    ]
    best = sorted(fit, key=lambda found: _order(found, away, vouched))
    return tuple(found.agent_id for found in best[:MOST])


def shared(one: Candidate, away: Candidate) -> str:
    """A specialty that both have; the first one by name."""
    return min(one.specialties & away.specialties, default="")


def _order(found: Candidate, away: Candidate, vouched: bool) -> tuple[int, bool, int, str]:
    """Smaller is better: shares more, is liked by the one who is away, is less busy."""
    common = len((found.vouched if vouched else found.specialties) & away.specialties)
    return -common, found.agent_id not in away.prefers, found.load, found.agent_id
