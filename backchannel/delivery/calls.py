"""Calls: the names behind an `@` in a text, where people mean somebody by it."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

from backchannel.errors import BadMessage, UnknownAgent
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.memory import Exchange, MemoryUpdate
from backchannel.protocol.sealed import FORMAT
from backchannel.protocol.sidebar import SidebarMessage

Knows = Callable[[str], bool]
"""Whether a group's directory knows an agent."""

Skilled = Callable[[str], Iterable[str]]
"""The agents of the group that have a specialty."""

MOST_CALLED = 32
"""Agents that one text may call."""

MOST_TOLD = 16
"""Names that an error repeats."""

MOST_READ = 65_536
"""Characters of a text in which names are looked for."""

TRUCK = "infodumptruck"
"""Calls nobody: whoever writes it wants to be given everything."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
_QUOTE = re.compile(r" {0,3}>")
_INDENTED = re.compile(r"(?: {4}|\t)")
_TICKS = re.compile(r"`+")
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,20}://\S*|\bmailto:\S*|\bwww\.\S*")
_CALL = re.compile(r"(?<![\w@\\/.:;=+&#$%~^*-])@([A-Za-z0-9][A-Za-z0-9_-]{0,63})(?![\w@/(=\[-]|[.:]\w)")
_DECORATOR = re.compile(r"\s*@[A-Za-z_][\w.]*\s*(?:\(.*)?$")
_DECORATED = re.compile(
    r"\s*(?:@|(?:def|async|class|function|export|public|private|protected|static|final|abstract|fun|val|let|var"
    r"|const|fn|interface|enum) )"
)


def called(text: str) -> tuple[str, ...]:
    """The names that a text calls, each once, as they come.

    Not in code (fenced, indented or between backticks), quotes (`>`), addresses, links, or where decorators
    stand before what they decorate. A backslash before the `@` takes its meaning.
    """
    if "@" not in text:
        return ()
    text = text[:MOST_READ]
    found: dict[str, None] = {}
    for line in _prose(text):
        if "@" in line:
            found.update(dict.fromkeys(_CALL.findall(_URL.sub(" ", _without_code(line)))))
    return tuple(found)


def _without_code(line: str) -> str:
    """The line without what stands between backticks: from a run of them to the next one as long."""
    runs = list(_TICKS.finditer(line))
    if not runs:
        return line
    after: dict[int, int] = {}
    closing: list[int | None] = [None] * len(runs)
    for place in reversed(range(len(runs))):
        length = runs[place].end() - runs[place].start()
        closing[place] = after.get(length)
        after[length] = place
    kept, start, place = [], 0, 0
    while place < len(runs):
        end = closing[place]
        if end is None:
            place += 1
            continue
        kept.append(line[start : runs[place].start()])
        start, place = runs[end].end(), end + 1
    return " ".join([*kept, line[start:]])


def _prose(text: str) -> Iterable[str]:
    """The lines in which somebody speaks."""
    lines = text.splitlines()
    fence: str | None = None
    after_text = False
    for place, line in enumerate(lines):
        opened = _FENCE.match(line)
        if fence is not None:
            if opened and opened[1].startswith(fence) and not opened[2].strip():
                fence = None
            continue
        if opened and not (opened[1][0] == "`" and "`" in opened[2]):
            fence, after_text = opened[1], False
            continue
        code = _INDENTED.match(line) is not None and not after_text
        after_text = bool(line.strip()) and not code
        if not code and not _QUOTE.match(line) and not _decorates(lines, place):
            yield line


def _decorates(lines: list[str], place: int) -> bool:
    if not _DECORATOR.match(lines[place]):
        return False
    return place + 1 < len(lines) and _DECORATED.match(lines[place + 1]) is not None


@dataclass(frozen=True, slots=True)
class Called:
    """Whom a text calls: those who may see what it says, and those who learn only that they were called."""

    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inside) + len(self.outside)


NOBODY = Called()


def text_of(message: AnyMessage) -> str:
    """What may call somebody: the text of a message; nothing of what is sealed or structured."""
    match message:
        case SidebarMessage(content=str() as text, format=form) if form != FORMAT:
            return text
        case MemoryUpdate(exchange=Exchange(content=str() as text, format=form)) if form != FORMAT:
            return text
    return ""


def wants_everything(message: AnyMessage) -> bool:
    """Whether a text calls the truck that dumps everything."""
    text = text_of(message)
    return TRUCK in text.lower() and any(name.lower() == TRUCK for name in called(text))


def some_of(names: Sequence[str]) -> str:
    """The first of some names as a person reads them, and how many more there are."""
    more = f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
    return ", ".join(names[:MOST_TOLD]) + more


def few(names: Iterable[str], sender: str) -> tuple[str, ...]:
    """The names that are to be looked up; so few that this may be done.

    Raises:
        BadMessage: they are too many, whatever they mean.
    """
    found = tuple(name for name in names if name.lower() != TRUCK)
    others = len(found) - (sender in found)
    if others > MOST_CALLED:
        raise BadMessage(
            f"A text may call {MOST_CALLED} agents or specialties; this names {others}.", field="content"
        )
    return found


def resolve(
    names: Iterable[str], sender: str, knows: Knows, skilled: Skilled, members: Container[str] | None
) -> Called:
    """Agents by their names; a name that is no agent's is a specialty, and calls everybody who has it.

    Args:
        members: whoever may see what the text says; None for everybody.

    Raises:
        UnknownAgent: a name is neither; the message says which.
        BadMessage: too many are called.
    """
    agents: dict[str, None] = {}
    unknown: list[str] = []
    for name in few(names, sender):
        able = (name,) if knows(name) else tuple(skilled(name))
        agents.update(dict.fromkeys(able))
        if not able:
            unknown.append(name)
    if unknown:
        raise UnknownAgent(
            f"Nobody in this group is called {some_of(unknown)} or has such a specialty, and nothing was"
            " stored. Where an @ calls nobody, put it between backticks or write \\@.",
            field="content",
        )
    agents.pop(sender, None)
    if len(agents) > MOST_CALLED:
        raise BadMessage(f"A text may call {MOST_CALLED} agents; this calls {len(agents)}.", field="content")
    seeing = tuple(agent for agent in agents if members is None or agent in members)
    return Called(seeing, tuple(agent for agent in agents if agent not in seeing))
