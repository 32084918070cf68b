"""Policy: from who asks, what for and how risky that is, to allowed, to be asked, or denied; with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from backchannel.domain.supervision.risk import UNKNOWN, Risk
from backchannel.domain.supervision.rules import LEVELS
from backchannel.protocol.claims import Claims, SupervisionLevel, ToolChains

Verb = Literal["allow", "ask", "deny"]
Standing = Literal["allowed", "restricted", "experimental", "blocked", "unknown"]
RISKY = LEVELS.index("medium")
"""At the level ``medium``, calls of this risk and above are asked for."""

FEWEST_RUNS = 2
"""Runs of a chain that may begin unasked within an hour, however short; else as many as a run has calls."""

KINDS = {
    "any_file_modification": frozenset({"write", "delete", "execute", UNKNOWN}),
    "external_api_calls": frozenset({"fetch", "money", "execute", UNKNOWN}),
}
"""Kinds of calls that `require_human_approval` may name, by the classes of tools that may be such a call.
What a program or an unknown tool does cannot be told beforehand, so it may be either."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The chain that a request names, and the run of calls it belongs to: how many came before it in there.

    `begun` is how many runs of the chain began within the last hour. `before` is None for a request that
    belongs to no run, and `begun` for one that begins none. `loose` is how many calls that continue no run
    and name no chain the agent made within the last hour; None where its token does not limit those.
    """

    name: str | None = None
    before: int | None = None
    begun: int | None = None
    loose: int | None = None


def limits_what_is_loose(claims: Claims) -> bool:
    """Whether a token limits also calls that name no chain: if it sets another length than the usual one.

    The usual one was chosen by nobody, and an agent that works on many things is not held to it.
    """
    return claims.tool_chains.max_chain_length != ToolChains().max_chain_length


@dataclass(frozen=True, slots=True)
class Judgement:
    """What policy says, and every reason that led there. `flags` are told to the supervisor all the same."""

    verb: Verb
    reasons: tuple[str, ...]
    flags: tuple[str, ...] = ()


def standing_of(tool: str, claims: Claims) -> Standing:
    """How a tool stands in a token; ``blocked`` wins over all else, the stricter over the laxer."""
    tools = claims.tools
    if tool in tools.blocked:
        return "blocked"
    if tool in tools.experimental:
        return "experimental"
    if tool in tools.restricted:
        return "restricted"
    return "allowed" if tool in tools.allowed else "unknown"


def judge(
    tool: str, claims: Claims, risk: Risk, chain: Chain = Chain(), unusual: Sequence[str] = ()
) -> Judgement:
    """Whether the bearer of `claims` (as they are in force) may use a tool now.

    Args:
        unusual: what is out of the ordinary about it; at the level ``low`` the supervisor is told.
    """
    standing = standing_of(tool, claims)
    if (refusal := _refusal(tool, claims, standing, chain)) is not None:
        return Judgement("deny", (refusal,))
    asks = [
        *_chain_asks(tool, claims, risk, chain),
        *_standing_asks(tool, standing, claims.supervision_level),
    ]
    asks += _level_asks(claims.supervision_level, risk)
    flags = tuple(unusual) if claims.supervision_level == "low" else ()
    if asks:
        return Judgement("ask", tuple(asks), flags)
    level = claims.supervision_level
    why = f"{tool} is {standing}, and the level {level} lets a call of {risk.level} risk go on"
    return Judgement("allow", (why,), flags)


def _refusal(tool: str, claims: Claims, standing: Standing, chain: Chain) -> str | None:
    """The reason for which no human is even asked."""
    if standing == "blocked":
        return f"{tool} is blocked for {claims.sub}, at every level"
    if claims.supervision_level == "locked":
        return f"{claims.sub} is locked: it may look, and execute nothing"
    if standing == "unknown":
        return f"the token of {claims.sub} names no tool {tool}; what is not named is not allowed"
    limits = claims.tool_chains
    if chain.before is not None and chain.before >= limits.max_chain_length:
        return f"the chain has {chain.before} calls already, and {limits.max_chain_length} are allowed"
    if chain.name is not None and chain.name not in {*limits.allowed_chains, *limits.supervised_chains}:
        return f"the token of {claims.sub} names no chain {chain.name}"
    return None


def _chain_asks(tool: str, claims: Claims, risk: Risk, chain: Chain) -> list[str]:
    limits = claims.tool_chains
    found = []
    if chain.name in limits.supervised_chains:
        found.append(f"the chain {chain.name} is supervised")
    if chain.begun is not None and chain.begun >= (most := max(limits.max_chain_length, FEWEST_RUNS)):
        found.append(f"{chain.begun} runs of the chain began within an hour; only {most} may unasked")
    if chain.loose is not None and chain.loose >= limits.max_chain_length:
        found.append(
            f"{chain.loose} calls within an hour say of no chain that they belong to it; the token lets"
            f" {limits.max_chain_length} go on unasked"
        )
    if (named := _named_by(limits.require_human_approval, tool, risk, chain)) is not None:
        found.append(f"the token asks for a human's approval of {named}")
    return found


def _named_by(wanted: Sequence[str], tool: str, risk: Risk, chain: Chain) -> str | None:
    """What of a call a token wants to be asked for: its tool, its chain, its class, or a kind of calls."""
    for name in wanted:
        if name in (tool, chain.name, risk.tool_class) or risk.tool_class in KINDS.get(name, ()):
            return name
    return None


def _standing_asks(tool: str, standing: Standing, level: SupervisionLevel) -> list[str]:
    match standing:
        case "experimental":
            return [f"{tool} is experimental: it needs an approval at every level"]
        case "restricted" if level in ("medium", "high"):
            return [f"{tool} is restricted"]
    return []


def _level_asks(level: SupervisionLevel, risk: Risk) -> list[str]:
    match level:
        case "high":
            return ["at the level high every call needs an approval"]
        case "medium" if risk.rank >= RISKY:
            return [f"the risk is {risk.level}: {risk.reasons[0]}"]
        case "autonomous" | "low" | "medium" | "locked":
            return []
    assert_never(level)
