"""Walks: every text in the parameters of a call, with the name it stands under and what belongs together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic_core

MOST_TEXTS = 1_000
DEEPEST = 32
MOST_JOINED = 64
"""Texts of one list that may be the parts of one path, or the words of one command line."""
LONGEST_JSON = 65_536

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PATH_ENDINGS = (
    *("path", "file", "filename", "dir", "directory", "folder", "target", "destination", "source"),
    *("dest", "location", "cwd", "root"),
)
_HOST_ENDINGS = (
    *("host", "hostname", "server", "addr", "address", "url", "uri", "endpoint", "domain", "origin", "proxy"),
    *("webhook", "href", "gateway", "link"),
)
_HOST_WORDS = frozenset({"ip", "site", "dns", "node", "peer", "remote", "callback"})
_BASES = frozenset(
    {"cwd", "base", "root", "workdir", "dir", "directory", "folder", "prefix", "basedir", "chdir", "home"}
)
_PROSE = frozenset(
    {
        *(
            "query",
            "q",
            "text",
            "content",
            "contents",
            "message",
            "body",
            "prompt",
            "description",
            "reason",
            "comment",
        ),
        *(
            "title",
            "subject",
            "summary",
            "note",
            "notes",
            "question",
            "search",
            "topic",
            "task",
            "instructions",
        ),
        *("markdown", "html", "explanation", "reasoning", "answer", "label", "caption", "keywords"),
    }
)


@dataclass(frozen=True, slots=True)
class Said:
    """One text, and the name it stands under (empty for a name itself)."""

    text: str
    under: str = ""

    @property
    def names_a_path(self) -> bool:
        """`path`, and also `file_path`, `filepath` or `targets`."""
        return any(word.endswith(_PATH_ENDINGS) for word in _words(self.under))

    @property
    def names_a_host(self) -> bool:
        words = _words(self.under)
        return any(word.endswith(_HOST_ENDINGS) or word in _HOST_WORDS for word in words)

    @property
    def is_prose(self) -> bool:
        """Written to be read: a path in there is talked about and not meant."""
        return bool(self.under) and not _PROSE.isdisjoint(_words(self.under))

    @property
    def is_a_base(self) -> bool:
        return not _BASES.isdisjoint(_words(self.under))


@dataclass(slots=True)
class Walk:
    """What was found. `doubts` say what was not looked at, and `cut` that there are too many texts."""

    said: list[Said] = field(default_factory=list)
    lists: list[tuple[str, list[str]]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    cut: bool = False


def walk(params: Mapping[str, Any]) -> Walk:
    """Every text, those within JSON that is itself a text as well; numbers where they may be addresses."""
    found = Walk()
    waiting: list[tuple[Any, str, int]] = [(params, "", 0)]
    while waiting:
        value, under, depth = waiting.pop()
        if len(found.said) > MOST_TEXTS:
            found.cut = True
            return found
        if depth > DEEPEST:
            found.doubts.append(f"it is nested more than {DEEPEST} deep, and not all of it was looked at")
            continue
        waiting += [(part, name, depth + 1) for part, name in _parts(value, under, found)]
    return found


def _parts(value: Any, under: str, found: Walk) -> Iterator[tuple[Any, str]]:
    match value:
        case str():
            found.said.append(Said(value, under))
            if (inner := _json(value)) is not None:
                yield inner, under
        case bool() | None:
            return
        case int() if Said("", under).names_a_host:
            found.said.append(Said(str(value), under))
        case Mapping():
            for key, part in list(value.items())[: MOST_TEXTS + 1]:
                found.said.append(Said(str(key)))
                yield part, str(key)
        case list() | tuple():
            if 1 < len(texts := _texts(value)) <= MOST_JOINED:
                found.lists.append((under, texts))
            yield from ((part, under) for part in value[: MOST_TEXTS + 1])


def _texts(value: Sequence[Any]) -> list[str]:
    return [part for part in value if isinstance(part, str)]


def _json(text: str) -> Any:
    """What a text says that is JSON of its own; None for any other."""
    stripped = text.strip()
    if stripped[:1] not in ("{", "[", '"') or not 2 < len(stripped) <= LONGEST_JSON:
        return None
    try:
        return pydantic_core.from_json(stripped)
    except ValueError:
        return None


def _words(name: str) -> list[str]:
    return [word.lower().removesuffix("s") for word in _WORD.findall(name)]
