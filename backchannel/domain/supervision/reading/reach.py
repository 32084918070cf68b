"""What a call reaches: files, machines and commands, from all readings of all its texts together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backchannel.domain.supervision.reading import command, host, location
from backchannel.domain.supervision.reading.spelling import LONGEST, hidden, plain, unescaped
from backchannel.domain.supervision.reading.walk import Said, Walk, walk

MOST_SPLIT = 32_768
"""Characters of a call that are split into the words of command lines."""
MOST_BASES, MOST_SEEN_FROM = 8, 128
"""Folders, and texts that are looked at as seen from each of them."""

_FILE_URL = re.compile(r"\bfile:[/\\][^\s\"'<>)]{1,1024}", re.IGNORECASE)
_QUOTED = re.compile(r"[\"'(]((?:/|~|\.\./)[^\"'()\s]{1,512})[\"')]")


@dataclass(slots=True)
class Reach:
    """What was found.

    Args:
        patterns: of the rules about paths.
        paths: what is said to be a path, or looks like one, made plain.
        matched: by pattern, the paths that it is about, those among them that only may be paths as well.
        texts: what words are looked for in: lower case, one space between words.
        doubts: why something is not understood.
        cut: there are more texts than are looked at.
    """

    patterns: tuple[str, ...]
    paths: tuple[str, ...] = ()
    matched: dict[str, list[str]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    cut: bool = False
    left: int = MOST_SPLIT

    def doubt(self, why: str | None) -> None:
        if why is not None and why not in self.doubts:
            self.doubts.append(why)

    def look(self, text: str, said: Said) -> Iterator[str]:
        """Compare what may be a path with the rules; yields what is one for certain."""
        certain = (said.names_a_path and text == said.text) or location.looks_like_a_path(text)
        if location.is_url(text):
            return
        found, doubt = location.paths(text)
        if certain:
            self.doubt(doubt)
            yield from found
        for path in found:
            self.compare(path)

    def compare(self, path: str) -> None:
        for pattern in location.matching(path, self.patterns):
            known = self.matched.setdefault(pattern, [])
            if path not in known:
                known.append(path)

    def say(self, text: str) -> None:
        self.texts.append(" ".join(text.lower().split()))


def reached(params: Mapping[str, Any], patterns: Sequence[str]) -> Reach:
    """Everything that a call reaches, as far as its parameters say."""
    found = walk(params)
    reach = Reach(tuple(patterns), doubts=list(dict.fromkeys(found.doubts)), cut=found.cut)
    paths: dict[str, None] = {}
    for said in found.said:
        paths |= dict.fromkeys(_read(said, reach))
    for said in _joined(found):
        paths |= dict.fromkeys(_read(said, reach))
    _seen_from(found, reach)
    reach.say(" ".join(said.text for said in found.said))
    reach.paths = tuple(paths)
    return reach


def _read(said: Said, reach: Reach) -> Iterator[str]:
    """Look at one text in each of its readings."""
    meant = plain(said.text)
    reach.doubt(meant.doubt)
    for text in dict.fromkeys((meant.text, plain(unescaped(said.text)).text)):
        plainly = Said(text, said.under)
        for word in host.called(text, is_named=said.names_a_host):
            reach.say(word)
        if text != said.text:
            reach.say(text)
        if "+" in text and " " not in text:
            reach.say(text.replace("+", " "))
        if "/*" in text or "--" in text:
            reach.say(_without_comments(text))
        for token in _tokens(plainly, reach):
            yield from reach.look(token, plainly)
    if hidden(said.text) and (
        said.names_a_path or said.names_a_host or location.looks_like_a_path(meant.text)
    ):
        reach.doubt("it holds characters that nobody sees")
    if len(said.text) > LONGEST and not said.is_prose:
        reach.doubt(f"a text is longer than the {LONGEST} characters that are looked at closely")


def _tokens(said: Said, reach: Reach) -> Iterator[str]:
    """What of a plain text may be a path by itself."""
    text = said.text
    yield text
    if location.is_url(text) and len(text.split(maxsplit=1)) < 2:
        return
    if not command.is_several(text):
        yield from list(command.values(text))[1:]
    elif not said.is_prose or command.is_command(text):
        yield from _words_of(text, said, reach)
    yield from _QUOTED.findall(text)
    yield from _FILE_URL.findall(text)


def _words_of(text: str, said: Said, reach: Reach) -> Iterator[str]:
    reach.left -= len(text)
    if reach.left < 0:
        reach.doubt(f"it has more than {MOST_SPLIT} characters that may be command lines")
        return
    words = command.words(text)
    if words is None:
        if command.is_command(text):
            reach.doubt("a command line cannot be read: a quote does not end")
        words = text.split()
    if command.runs_what_it_decodes(words):
        reach.doubt("it runs, or may run, what it decodes")
    if command.removes_folders(words):
        reach.say(command.DELETES_FOLDERS)
    reach.say(" ".join(words))
    for word in dict.fromkeys(words):
        for word_said in host.called(word, is_named=False):
            reach.say(word_said)
        if not location.is_url(word):
            yield from command.values(word)


def _joined(found: Walk) -> Iterator[Said]:
    """Lists as the parts of one path, and as the words of one command line."""
    for under, texts in found.lists:
        yield Said(" ".join(f"'{text}'" if " " in text else text for text in texts), under)
        if not any(text.startswith(("/", "\\")) for text in texts[1:]):
            yield Said("/".join(texts))
            yield Said("".join(texts))


def _seen_from(found: Walk, reach: Reach) -> None:
    """Paths as seen from the folder that the same call names."""
    bases = [plain(said.text).text for said in found.said if said.is_a_base][:MOST_BASES]
    for base in bases:
        [start, *_], _ = location.paths(base) if base else ([""], None)
        for said in found.said[:MOST_SEEN_FROM]:
            text = plain(said.text).text
            if said.under and text != base and len(text) <= 256 and not location.is_url(text):
                reach.compare(location.joined(start, location.slashed(text)))


def _without_comments(text: str) -> str:
    """SQL as it is run."""
    kept, position = [], 0
    while (start := text.find("/*", position)) >= 0:
        kept.append(text[position:start])
        end = text.find("*/", start + 2)
        if end < 0:
            position = len(text)
            break
        position = end + 2
    kept.append(text[position:])
    return re.sub(r"--[^\n]*", " ", " ".join(kept))
