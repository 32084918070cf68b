"""The narrowest of several tokens of one entity: what all allow, where nobody can tell which one speaks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, TypeVar

from backchannel.domain.inforce import narrower
from backchannel.protocol.claims import Claims, ToolChains, Tools

STRICTEST = ("blocked", "experimental", "restricted", "allowed")
"""How a tool may stand in a token, the strictest first (`supervision.policy.standing_of`)."""

Value = TypeVar("Value")


def narrowest(tokens: Sequence[Claims]) -> Claims | None:
    """What every one of these tokens lets its bearer do; None if there is none, or they disagree who that is.

    Whoever may look over an action is named only if all name the same: a token must not lend its supervisor
    to what another one lets do.
    """
    who = {(one.collaboration_group, one.sub, one.entity_type, one.is_worker) for one in tokens}
    if len(who) != 1:
        return None
    return reduce(_both, tokens)


def _both(one: Claims, other: Claims) -> Claims:
    extra, others = one.model_extra or {}, other.model_extra or {}
    known: dict[str, Any] = {
        "iat": min(one.iat, other.iat),
        "exp": min(one.exp, other.exp),
        "human_partner": _agreed(one.human_partner, other.human_partner),
        "human_supervisor": _agreed(one.human_supervisor, other.human_supervisor),
        "sidebar_access": _common(one.sidebar_access, other.sidebar_access),
        "specialties": _common(one.specialties, other.specialties),
        "can_spawn_sidebars": one.can_spawn_sidebars and other.can_spawn_sidebars,
        "can_access_memory": one.can_access_memory and other.can_access_memory,
        "lanes": _common(one.lanes, other.lanes),
        "tools": _tools(one.tools, other.tools),
        "tool_chains": _chains(one.tool_chains, other.tool_chains),
        "supervision_level": narrower(one.supervision_level, other.supervision_level),
        "offers": _common(one.offers, other.offers),
    }
    dropped = {name: None for name in extra if name not in others or others[name] != extra[name]}
    return one.model_copy(update={**known, **dropped})


def _agreed(one: Value, other: Value) -> Value | None:
    return one if one == other else None


def _common(one: list[Value], other: list[Value]) -> list[Value]:
    return [name for name in one if name in other]


def _tools(one: Tools, other: Tools) -> Tools:
    """Each tool as the stricter of the two has it. What one of them does not name is not allowed at all."""
    found: dict[str, list[str]] = {standing: [] for standing in STRICTEST}
    for name in dict.fromkeys(
        name for tools in (one, other) for kind in STRICTEST for name in getattr(tools, kind)
    ):
        standings = [_standing(name, one), _standing(name, other)]
        if "blocked" in standings:
            found["blocked"].append(name)
        elif None not in standings:
            found[min((str(each) for each in standings), key=STRICTEST.index)].append(name)
    return Tools(**found)


def _standing(name: str, tools: Tools) -> str | None:
    return next((kind for kind in STRICTEST if name in getattr(tools, kind)), None)


def _chains(one: ToolChains, other: ToolChains) -> ToolChains:
    supervised = {*one.supervised_chains, *other.supervised_chains}
    named = [
        name
        for name in (*one.allowed_chains, *one.supervised_chains)
        if name in (*other.allowed_chains, *other.supervised_chains)
    ]
    return ToolChains(
        allowed_chains=[name for name in named if name not in supervised],
        supervised_chains=[name for name in named if name in supervised],
        max_chain_length=min(one.max_chain_length, other.max_chain_length),
        require_human_approval=list(
            dict.fromkeys([*one.require_human_approval, *other.require_human_approval])
        ),
    )
