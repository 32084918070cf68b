"""Who fits: from needed specialties to agents, each choice with its reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backchannel.domain.directory import specialties_in, vouched_in
from backchannel.errors import NotFound

MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the directory says of one agent.

    ``specialties`` are those it says it has and those that are ``vouched`` for, by its token or an operator:
    only these bring it to what is not for everybody. ``availability`` is its own word: available, busy or
    offline. ``load`` counts the open sidebars it is in, ``prefers`` the agents it likes to work with.
    """

    agent_id: str
    specialties: frozenset[str] = frozenset()
    online: bool = False
    availability: str = "available"
    prefers: frozenset[str] = frozenset()
    load: int = 0
    vouched: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Candidate:
        """From an entry of the roster; what it does not say, it does not have."""
        return cls(
            agent_id=str(entry["agent_id"]),
            specialties=specialties_in(entry),
            vouched=vouched_in(entry),
            online=bool(entry.get("online")),
            availability=str(entry.get("availability") or "available"),
            prefers=frozenset(map(str, entry.get("preferred_collaborators") or ())),
            load=int(entry.get("active_sidebars") or 0),
        )

    @property
    def free(self) -> bool:
        return self.online and self.availability == "available"


@dataclass(frozen=True, slots=True)
class Match:
    """An agent for a specialty, and why this one. ``brought``: it comes because of this."""

    agent_id: str
    specialty: str
    reason: str
    brought: bool = True

    def told(self) -> dict[str, str]:
        return {"agent_id": self.agent_id, "specialty": self.specialty, "reason": self.reason}


def match(
    wanted: Sequence[str], named: Collection[str], candidates: Iterable[Candidate], asker: str
) -> list[Match]:
    """One agent for each specialty, in the order given.

    Whoever is ``named`` already, or was just chosen, serves for every specialty it has. The asker itself
    serves only if nobody else does: who asks for a specialty wants somebody with it. Nobody is chosen for
    what it only says of itself. An agent that says it is offline is never chosen; one that is busy or not
    connected only if nobody is free.

    Raises:
        NotFound: nobody fits; the message names the specialty.
    """
    known = {candidate.agent_id: candidate for candidate in candidates}
    inside = [agent for agent in dict.fromkeys(named) if agent != asker]
    found: list[Match] = []
    for specialty in dict.fromkeys(wanted):
        one = _inside(specialty, inside, known) or _outside(specialty, inside, known, asker)
        found.append(one)
        inside.append(one.agent_id)
    return found


def _inside(specialty: str, inside: Iterable[str], known: Mapping[str, Candidate]) -> Match | None:
    for agent in inside:
        if agent in known and specialty in known[agent].specialties:
            return Match(agent, specialty, f"{agent} takes part already and has {specialty}.", brought=False)
    return None


def _outside(specialty: str, inside: Collection[str], known: Mapping[str, Candidate], asker: str) -> Match:
    able = [found for found in known.values() if specialty in found.vouched]
    likes = known[asker].prefers if asker in known else frozenset()
    fit = [
        found for found in able if found.agent_id not in (asker, *inside) and found.availability != "offline"
    ]
    if fit:
        best = min(fit, key=lambda found: _order(found, asker, likes))
        return Match(best.agent_id, specialty, _reason(best, specialty, asker, likes, len(fit)))
    if asker in known and specialty in known[asker].specialties:
        why = f"{asker} asked for it, and nobody else who could be chosen has {specialty}."
        return Match(asker, specialty, why, brought=False)
    raise NotFound(
        f"Nobody could be found for the specialty {specialty}: {_why_nobody(specialty, able, known)}",
        field="specialties",
    )


def _why_nobody(specialty: str, able: Iterable[Candidate], known: Mapping[str, Candidate]) -> str:
    if away := _names(able):
        return f"whoever has it says it is offline ({away}) or is in already."
    if claiming := _names(found for found in known.values() if specialty in found.specialties):
        return (
            f"nobody vouches for those who say they have it ({claiming}). Name one in `participants`, or have"
            f" it vouched for: backchannel token create NAME --specialties {specialty}."
        )
    return "no agent of the group has it."


def _names(agents: Iterable[Candidate]) -> str:
    names = sorted(found.agent_id for found in agents)
    return ", ".join([*names[:MOST_NAMED], *(["…"] if len(names) > MOST_NAMED else [])])


def _order(found: Candidate, asker: str, likes: frozenset[str]) -> tuple[Any, ...]:
    """Smaller is better."""
    liked = found.agent_id in likes or asker in found.prefers
    return (not found.online, found.availability != "available", not liked, found.load, found.agent_id)


def _reason(found: Candidate, specialty: str, asker: str, likes: frozenset[str], choice: int) -> str:
    facts = [f"has {specialty}", f"is {_state(found)}", *_liking(found, asker, likes), _load(found.load)]
    alone = "; there was no other choice" if choice == 1 else ""
    rest = alone if found.free else "; nobody free has it"
    return f"{found.agent_id} {', '.join(facts)}{rest}."


def _state(found: Candidate) -> str:
    return f"{'online' if found.online else 'not connected'} and {found.availability}"


def _liking(found: Candidate, asker: str, likes: frozenset[str]) -> list[str]:
    if found.agent_id in likes:
        return [f"is preferred by {asker}"]
    return [f"prefers to work with {asker}"] if asker in found.prefers else []


def _load(sidebars: int) -> str:
    match sidebars:
        case 0:
            return "is in no other open sidebar"
        case 1:
            return "is in 1 other open sidebar"
    return f"is in {sidebars} other open sidebars"
