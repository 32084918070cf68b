"""Risk: what a tool is, what its parameters reach, and why that matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from backchannel.domain.supervision.reading.reach import Reach, reached
from backchannel.domain.supervision.reading.walk import MOST_TEXTS
from backchannel.domain.supervision.rules import LEVELS, Level, RiskRules

UNKNOWN = "unknown"
"""The class of a tool that no rule knows."""

MOST_SHOWN, LONGEST_SHOWN = 32, 256
"""Paths and reasons that are told of one call, and characters of each."""

_AWAY = {
    "write": "Write to a new file beside it and let somebody compare.",
    "delete": "Move it aside instead of deleting it.",
    "execute": "Describe what the program would do and ask for exactly that tool.",
    "money": "Prepare it, and let a human send it.",
}


@dataclass(frozen=True, slots=True)
class Risk:
    """How much could go wrong, and every reason for that, the gravest first.

    `understood`: all of the parameters was looked at and could be read.
    """

    level: Level
    tool_class: str
    reasons: tuple[str, ...]
    paths: tuple[str, ...] = ()
    understood: bool = True

    @property
    def rank(self) -> int:
        return LEVELS.index(self.level)

    def shown(self) -> dict[str, Any]:
        """As whoever decides reads it."""
        told = {"level": self.level, "tool_class": self.tool_class, "reasons": _shown(self.reasons)}
        return told | ({"paths": _shown(self.paths)} if self.paths else {})


def assess(tool: str, params: Mapping[str, Any], rules: RiskRules) -> Risk:
    """The risk of one call. What the rules do not know counts as `rules.otherwise`."""
    found = next((rule for rule in rules.tools if fnmatchcase(tool, rule.pattern)), None)
    kind, level = (found.tool_class, found.level) if found else (UNKNOWN, rules.otherwise)
    reasons = [(level, f"{tool} is a tool of the class {kind}" if found else f"no rule knows {tool}")]
    reach = reached(params, [rule.pattern for rule in rules.paths])
    reasons += _by_rules(reach, rules)
    reasons += [("medium", f"not all of it is understood: {why}") for why in reach.doubts]
    if reach.cut:
        reasons.append(("high", f"it has more than {MOST_TEXTS} texts, and not all of them were looked at"))
    if _forced(params):
        reasons.append(("high", "it is to be forced, or to reach everything below"))
    reasons.sort(key=lambda one: -LEVELS.index(one[0]))
    understood = not (reach.cut or reach.doubts)
    return Risk(reasons[0][0], kind, tuple(why for _, why in reasons), reach.paths, understood)


def alternatives(risk: Risk) -> list[str]:
    """What could be done instead."""
    return [_AWAY[risk.tool_class]] if risk.tool_class in _AWAY else []


def _by_rules(reach: Reach, rules: RiskRules) -> Iterator[tuple[Level, str]]:
    for rule in rules.paths:
        for path in reach.matched.get(rule.pattern, ())[:MOST_SHOWN]:
            yield rule.level, f"{path[:LONGEST_SHOWN]}: {rule.why}"
    for word in rules.words:
        if any(word.word.lower() in text for text in reach.texts):
            yield word.level, f"{word.word!r}: {word.why}"


def _shown(texts: Sequence[str]) -> list[str]:
    told = [one if len(one) <= LONGEST_SHOWN else f"{one[:LONGEST_SHOWN]}…" for one in texts[:MOST_SHOWN]]
    return [*told, f"… and {len(texts) - MOST_SHOWN} more"] if len(texts) > MOST_SHOWN else told


def _forced(params: Mapping[str, Any]) -> bool:
    return any(params.get(name) is True for name in ("force", "recursive", "overwrite"))
