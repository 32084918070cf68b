"""Risk: what a tool is, what its parameters reach, and why that matters."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

from backchannel.domain.supervision.rules import LEVELS, Level, RiskRules

PATH_NAMES = frozenset(
    {"path", "file", "filename", "dir", "directory", "folder", "target", "destination", "source"}
)
MOST_TEXTS = 1_000
UNKNOWN = "unknown"
"""The class of a tool that no rule knows."""

_LOOKS_LIKE_A_PATH = re.compile(r"^(~|\.{0,2}[/\\]|file:/)[^\n]*$|^[^\n]*[/\\]\.\.([/\\][^\n]*)?$")
_PART_OF_A_NAME = re.compile(r"[a-z]+")
_AWAY = {
    "write": "Write to a new file beside it and let somebody compare.",
    "delete": "Move it aside instead of deleting it.",
    "execute": "Describe what the program would do and ask for exactly that tool.",
    "money": "Prepare it, and let a human send it.",
}


@dataclass(frozen=True, slots=True)
class Risk:
    """How much could go wrong, and every reason for that, the gravest first."""

    level: Level
    tool_class: str
    reasons: tuple[str, ...]
    paths: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        return LEVELS.index(self.level)

    def shown(self) -> dict[str, Any]:
        """As whoever decides reads it."""
        told = {"level": self.level, "tool_class": self.tool_class, "reasons": list(self.reasons)}
        return told | ({"paths": list(self.paths)} if self.paths else {})


def assess(tool: str, params: Mapping[str, Any], rules: RiskRules) -> Risk:
    """The risk of one call. What the rules do not know counts as `rules.otherwise`."""
    found = next((rule for rule in rules.tools if fnmatchcase(tool, rule.pattern)), None)
    kind, level = (found.tool_class, found.level) if found else (UNKNOWN, rules.otherwise)
    reasons = [(level, f"{tool} is a tool of the class {kind}" if found else f"no rule knows {tool}")]
    named = list(islice(_named_texts(params), MOST_TEXTS + 1))
    paths = tuple(dict.fromkeys(_paths(named)))
    for path in paths:
        reasons += [
            (rule.level, f"{path}: {rule.why}") for rule in rules.paths if _matches(path, rule.pattern)
        ]
    texts = " ".join(" ".join(text.lower() for text, _ in named).split())
    reasons += [(rule.level, f"{rule.word!r}: {rule.why}") for rule in rules.words if rule.word in texts]
    if len(named) > MOST_TEXTS:
        reasons.append(("high", f"it has more than {MOST_TEXTS} texts, and not all of them were looked at"))
    if _forced(params):
        reasons.append(("high", "it is to be forced, or to reach everything below"))
    reasons.sort(key=lambda one: -LEVELS.index(one[0]))
    return Risk(reasons[0][0], kind, tuple(why for _, why in reasons), paths)


def alternatives(risk: Risk) -> list[str]:
    """What could be done instead."""
    return [_AWAY[risk.tool_class]] if risk.tool_class in _AWAY else []


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or (pattern.endswith("/*") and path == pattern[:-2])


def _paths(named: Iterable[tuple[str, str]]) -> Iterator[str]:
    for text, under in named:
        if _names_a_path(under) or _LOOKS_LIKE_A_PATH.match(text):
            plain = posixpath.normpath(text.removeprefix("file:").replace("\\", "/").replace("\x00", ""))
            yield re.sub(r"^/+", "/", re.sub(r"^~(?=/|$)", "/home/~", plain))


def _names_a_path(name: str) -> bool:
    """`path`, and also `file_path` or `targets`."""
    return any(part.removesuffix("s") in PATH_NAMES for part in (name, *_PART_OF_A_NAME.findall(name)))


def _named_texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text in the parameters, with the name it stands under; names are texts as well."""
    waiting = [(value, "")]
    while waiting:
        one, under = waiting.pop()
        match one:
            case str():
                yield one, under
            case Mapping():
                yield from ((str(key), "") for key in one)
                waiting += [(part, str(key).lower()) for key, part in one.items()]
            case list() | tuple():
                waiting += [(part, under) for part in one]


def _forced(params: Mapping[str, Any]) -> bool:
    return any(params.get(name) is True for name in ("force", "recursive", "overwrite"))
