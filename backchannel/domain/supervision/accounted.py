"""Accounting: whether everything in a call is what a human saw, or lies below the folder a human named.

It decides by what is there, not by what is recognised: a name or a value that nothing accounts for is asked
about. A path is compared as it is written. What links on the disk make of it, whoever executes has to see to.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from backchannel.domain.canonical import canonical
from backchannel.domain.supervision.reading.spelling import plain

MOST_VALUES = 1_000
DEEPEST = 32
LONGEST_PATH = 4_096

_SAFE = frozenset("/._-+@ ")
"""What a plain path is made of beside letters and digits: nothing that a shell or a decoder would expand."""
_OTHER_WORD = re.compile(r" [/.~+@-]| $|  ")
_MAY_CLIMB = re.compile(r"(?:^|[/\\])\.\.(?:$|[/\\])")


def is_plain_path(text: str) -> bool:
    """Whether a text is one path and nothing else to anybody: nothing to decode, to expand or to split."""
    if not 0 < len(text) <= LONGEST_PATH or text[0] in " -+@" or text.startswith("//"):
        return False
    if not all(letter in _SAFE or _is_of_a_word(letter) for letter in text) or _OTHER_WORD.search(text):
        return False
    return unicodedata.normalize("NFKC", text) == text and ".." not in text.split("/")


def is_below(text: str, prefix: str) -> bool:
    """Whether a text is a plain path to something in a folder, or that folder."""
    if not is_plain_path(text):
        return False
    path, folder = posixpath.normpath(text), posixpath.normpath(prefix)
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def accounts_for(
    params: Mapping[str, Any], seen: Mapping[str, Any], prefix: str | None, equal: Mapping[str, Any]
) -> bool:
    """Whether every name and value of a call is accounted for.

    Args:
        seen: the parameters that the human saw; whatever is as in there is accounted for.
        prefix: a text may also be a path below this folder.
        equal: parameters that have to have these values.
    """
    if same(params, {**seen, **equal}):
        return True
    if (
        prefix is None
        or set(params) != {*seen, *equal}
        or not all(same(params[one], equal[one]) for one in equal)
    ):
        return False
    account = _Account(prefix)
    within = {name: value for name, value in params.items() if name not in equal}
    return account.of(within, {name: value for name, value in seen.items() if name not in equal}, 0)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to whoever executes: true is not 1, and 1 is not 1.0."""
    try:
        return canonical(one) == canonical(other)
    except (ValueError, TypeError, RecursionError):
        return False


class _Account:
    """Goes through a call beside the one that was seen, as far as `MOST_VALUES`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._values = 0

    def of(self, value: Any, seen: Any, depth: int) -> bool:
        self._values += 1
        if depth > DEEPEST or self._values > MOST_VALUES:
            return False
        match value, seen:
            case Mapping(), Mapping():
                return set(value) == set(seen) and all(
                    not may_climb(name) and self.of(value[name], seen[name], depth + 1) for name in value
                )
            case list(), list():
                return self._of_list(value, seen, depth)
            case str(), _ if is_below(value, self._prefix):
                return isinstance(seen, str)
        return same(value, seen) and not may_climb(value)

    def _of_list(self, values: Sequence[Any], seen: Sequence[Any], depth: int) -> bool:
        """As long as the other; or, if that is of nothing but texts, any number of paths but none."""
        if len(values) == len(seen):
            return all(self.of(value, was, depth + 1) for value, was in zip(values, seen, strict=True))
        self._values += len(values)
        only_texts = bool(seen) and all(isinstance(was, str) for was in seen)
        return 0 < len(values) <= MOST_VALUES and only_texts and all(map(self._is_a_path_below, values))

    def _is_a_path_below(self, value: Any) -> bool:
        return isinstance(value, str) and is_below(value, self._prefix)


def may_climb(value: Any) -> bool:
    """Whether a value that is as it was seen may lead elsewhere, once another one (a folder) has changed."""
    match value:
        case str():
            return _MAY_CLIMB.search(plain(value).text) is not None
        case Mapping():
            return any(map(may_climb, (*value, *value.values())))
        case list() | tuple():
            return any(map(may_climb, value))
    return False


def _is_of_a_word(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LNM"
