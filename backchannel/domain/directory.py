"""What the directory says of an agent, after a token was issued to it or it has come."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic_core import to_json

from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import Intake, Quality
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.sealed import KEY_FIELD

BLANK: Mapping[str, Any] = {
    "specialties": [],
    "availability": "available",
    "preferred_collaborators": [],
    "quality": None,
    "first_seen": None,
}

VOUCHED = ("vouched_specialties", "vouched_by_operator")
"""Specialties that somebody else answers for: the issuer of the token, and whoever runs the platform."""

PLATFORMS_OWN = {
    *VOUCHED,
    *("agent_id", "entity_type", "human_supervisor", "human_partner"),
    *("registered_at", "first_seen", "noted_at"),
}
"""What an agent cannot say of itself."""

SAID = ("availability", "warmup", "status", "current_context", "invitations", KEY_FIELD)
"""What an agent says of itself in a word,"""

LISTED: Mapping[str, int] = {
    "specialties": 4_096,
    "preferred_collaborators": 2_048,
    **dict.fromkeys(VOUCHED, 2_200),
}
"""and in lists, with the bytes of each that are kept. An entry has 12 KiB at most."""

QUALITY: Mapping[str, int] = {"slow_connection": 64, "mbps": 32, "required_data": 512, "batchable_data": 512}
LONGEST_WORD = 128


def humans_of(entry: Mapping[str, Any]) -> frozenset[str]:
    """Who looks after an agent, by its entry."""
    named = (entry.get("human_supervisor"), entry.get("human_partner"))
    return frozenset(name for name in named if name)


def vouched_in(entry: Mapping[str, Any]) -> frozenset[str]:
    """The specialties of an agent that somebody else answers for, by its entry."""
    return frozenset(str(each) for name in VOUCHED for each in _listed(entry.get(name)))


def specialties_in(entry: Mapping[str, Any]) -> frozenset[str]:
    """Every specialty of an agent by its entry, also those that only it says it has."""
    return vouched_in(entry) | frozenset(map(str, _listed(entry.get("specialties"))))


def _listed(told: object) -> list[Any]:
    return told if isinstance(told, list) else []


OF_ITS_OWN = frozenset(
    {"human_supervisor", "human_partner", "quality", "registered_at", "first_seen", "connections"}
)
"""What of a row of the roster is for the agent itself, its human and the operator."""


def outline(row: Mapping[str, Any], together: Collection[str], active: int) -> dict[str, Any]:
    """A row of the roster as other agents see it: who one is, what one can do, and whether one is here.

    Args:
        together: sidebars in which whoever asks may know of it what it is at.
        active: open sidebars that it is in, of those that whoever asks may look at.
    """
    shown = {name: value for name, value in row.items() if name not in OF_ITS_OWN}
    shown |= {"links": [], "active_sidebars": active}
    if shown.get("current_context") not in (None, MAIN, *together):
        shown["current_context"] = None
    return shown


def entry_after_token(former: Mapping[str, Any], claims: Claims, now: str) -> dict[str, Any]:
    """The entry with what a token proves; what the agent said of itself before stays. `now` is RFC 3339."""
    proven = {
        "agent_id": claims.sub,
        "entity_type": claims.entity_type,
        "human_supervisor": claims.human_supervisor,
        "human_partner": claims.human_partner,
        "vouched_specialties": _fitting(claims.specialties, LISTED["vouched_specialties"]),
    }
    return {**BLANK, **former, **proven, "registered_at": former.get("registered_at") or now}


def entry_after_arrival(
    former: Mapping[str, Any],
    claims: Claims,
    intake: Intake | None,
    now: str,
    quality: Quality | None = None,
) -> dict[str, Any]:
    """The entry with what it says of itself on arrival; the same as before if nothing of that is new."""
    said = intake.model_dump(mode="json", exclude=PLATFORMS_OWN, exclude_none=True) if intake else {}
    if quality is not None:
        said["quality"] = quality.model_dump(mode="json")
    known = entry_after_token(bounded({**former, **said}), claims, now)
    return {**known, "first_seen": former.get("first_seen") or now}


def said_in(intake: Intake) -> dict[str, Any]:
    """What an agent said of itself that is more than the usual, as far as it is kept."""
    return bounded(intake.model_dump(mode="json", exclude_defaults=True, exclude=PLATFORMS_OWN))


def bounded(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an entry, and shown of one that was kept before there was a bound: known fields alone,
    and of lists as many members as fit."""
    kept = {name: entry[name] for name in PLATFORMS_OWN & entry.keys()}
    kept |= {name: entry[name] for name in SAID if name in entry and _size(entry[name]) <= LONGEST_WORD}
    kept |= {name: _fitting(entry[name], most) for name, most in LISTED.items() if name in entry}
    if "quality" in entry:
        kept["quality"] = _quality(entry["quality"])
    return kept


def _quality(said: Any) -> dict[str, Any] | None:
    if not isinstance(said, Mapping):
        return None
    known = {name: said[name] for name in QUALITY if name in said}
    return {
        name: _fitting(value, QUALITY[name]) if isinstance(value, list) else value
        for name, value in known.items()
        if isinstance(value, list) or _size(value) <= QUALITY[name]
    }


def _fitting(said: Any, most: int) -> list[str]:
    kept = list[str]()
    for one in said if isinstance(said, Iterable) and not isinstance(said, str) else ():
        most -= _size(one) + 1
        if most < 0 or not isinstance(one, str):
            break
        kept.append(one)
    return kept


def _size(value: Any) -> int:
    return len(to_json(value))
