"""Conditions under which an approval holds: structured, so that whoever executes can keep or refuse them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backchannel.errors import BadMessage
from backchannel.protocol.identifier import is_identifier

Condition = dict[str, Any]
"""``{"kind": …, "value": …}``."""

MOST = 16
NOTE = "note"


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1000


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "backup_first": (_flag, "true: what is overwritten is kept beside it first"),
    "path_prefix": (_text, "a folder: nothing outside it is touched"),
    "max_rows": (_count, "a whole number: no more rows than this"),
    "max_bytes": (_count, "a whole number: no more bytes than this"),
    "dry_run": (_flag, "true: it is only said what would be done"),
    NOTE: (_text, "words for the agent; nobody enforces them"),
}
"""Every kind there is: what its value must be, in code and in words."""


def understood(said: Sequence[Any]) -> list[Condition]:
    """Conditions as a human said them: ``"backup_first: true"``, ``{"path_prefix": "out/"}``, or in full.

    Raises:
        BadMessage: one of them is of no known kind, or its value does not fit; nothing is decided then.
    """
    if len(said) > MOST:
        raise BadMessage(f"At most {MOST} conditions; there are {len(said)}.", field="conditions")
    return [one for condition in said for one in _read(condition)]


def enforced(conditions: Sequence[Mapping[str, Any]]) -> list[Condition]:
    """Those that whoever executes must keep."""
    return [dict(one) for one in conditions if one["kind"] != NOTE]


def _read(said: Any) -> list[Condition]:
    match said:
        case {"kind": str(kind), **rest}:
            return [_checked(kind, rest.get("value", True))]
        case dict() if said:
            return [_checked(str(kind), value) for kind, value in said.items()]
        case str():
            kind, colon, value = said.partition(":")
            if colon and is_identifier(kind.strip()):
                return [_checked(kind.strip(), _value(value.strip()))]
            return [_checked(said, True) if said in KINDS and said != NOTE else _checked(NOTE, said)]
    raise BadMessage("A condition is a text or an object with 'kind' and 'value'.", field="conditions")


def _value(text: str) -> Any:
    match text.lower():
        case "true" | "yes":
            return True
        case "false" | "no":
            return False
    return int(text) if text.isdecimal() else text


def _checked(kind: str, value: Any) -> Condition:
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise BadMessage(f"There is no condition {kind[:64]!r}; there are {known}.", field="conditions")
    fits, wanted = KINDS[kind]
    if not fits(value):
        raise BadMessage(f"The condition {kind} takes {wanted}.", field="conditions")
    return {"kind": kind, "value": value}
