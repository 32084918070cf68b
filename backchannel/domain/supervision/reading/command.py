"""Command lines: the words that a shell would make of a text, and what is run by them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

LONGEST = 16_384
DEEPEST = 3
"""Command lines within command lines, as ``sh -c "…"`` has them."""

DELETES_FOLDERS = "rm -rf"
"""What the rules call the deletion of whole folders, in any spelling."""

_SPACES = re.compile(r"\$(?:IFS(?:\$[0-9])?|\{IFS[^}]{0,32}\})")
_OPERATOR = re.compile(r"[<>|;&\n]")
_ENDS = frozenset({";", "|", "||", "&", "&&", "(", ")", "{", "}", "\n"})
_REMOVERS = frozenset({"rm", "del", "erase", "rd", "rmdir", "remove-item", "ri"})
_READERS = frozenset(
    {
        *(
            "cat",
            "less",
            "more",
            "head",
            "tail",
            "cp",
            "mv",
            "scp",
            "rsync",
            "tar",
            "zip",
            "dd",
            "tee",
            "vi",
            "vim",
            "nano",
            "od",
        ),
        *(
            "xxd",
            "strings",
            "base64",
            "grep",
            "awk",
            "sed",
            "sort",
            "find",
            "ls",
            "curl",
            "wget",
            "nc",
            "ssh",
            "sh",
            "bash",
        ),
        *(
            "zsh",
            "dash",
            "env",
            "sudo",
            "doas",
            "python",
            "python3",
            "perl",
            "ruby",
            "node",
            "php",
            "type",
            "get-content",
            "rm",
        ),
        *(
            "source",
            "eval",
            "exec",
            "busybox",
            "xargs",
            "nohup",
            "timeout",
            "open",
            "ln",
            "chmod",
            "chown",
            "git",
        ),
    }
)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


def is_several(text: str) -> bool:
    """Whether a shell may see more than one word in it."""
    return (
        len(text.split(maxsplit=1)) > 1
        or _SPACES.search(text) is not None
        or _OPERATOR.search(text) is not None
    )


def words(text: str) -> list[str] | None:
    """The words of a command line, those within quoted command lines as well; None if it is none."""
    if len(text) > LONGEST:
        return None
    found = _split(text)
    return None if found is None else list(_deeper(found, DEEPEST))


def is_command(text: str) -> bool:
    """Whether a text begins like a command line."""
    text = _OPERATOR.sub(" ", _SPACES.sub(" ", text))
    first = next((one for one in text.split(maxsplit=8) if not _ASSIGNMENT.match(one)), "")
    name = re.split(r"[/\\]", first.strip("\"'`$({").replace("\\", "/"))[-1].lower()
    return name.removesuffix(".exe") in _READERS and len(text.split(maxsplit=1)) > 1


def removes_folders(found: Sequence[str]) -> bool:
    """Whether these words delete whole folders, in whatever order and spelling of the options."""
    removing, options = False, set[str]()
    for word in found:
        name = re.split(r"[/\\]", word.lower())[-1].removesuffix(".exe")
        if word in _ENDS:
            removing, options = False, set()
        elif name in _REMOVERS:
            removing, options = True, set()
        elif removing and word.startswith("-"):
            options |= _options(word)
        elif removing and word.lower() == "/s":
            return True
        if removing and "r" in options:
            return True
        if word == "-delete":
            return True
    return False


def runs_what_it_decodes(found: Sequence[str]) -> bool:
    """Whether a command line says something else than what it runs."""
    names = {re.split(r"[/\\]", word)[-1].lower() for word in found}
    decodes = "base64" in names and not names.isdisjoint({"-d", "--decode", "-di", "-id"})
    return ("|" in names and (decodes or "xxd" in names or "rev" in names)) or names >= {"eval", "|"}


def values(word: str) -> Iterator[str]:
    """A word, and what an option like ``--file=/etc/passwd``, ``-I/etc`` or ``@/etc/passwd`` carries."""
    yield word
    _, equals, value = word.partition("=")
    if equals:
        yield value
    if re.match(r"-[A-Za-z][/~.@]", word):
        yield word[2:].lstrip("@")
    if word.startswith("@"):
        yield word[1:]
    yield from (part for part in re.split(r"[,;:](?=[/~.])", word)[1:] if part)
    if re.match(r"[0-9]?[<>]{1,2}&?", word):
        yield word.lstrip("0123456789<>&")


def _options(word: str) -> set[str]:
    if word.startswith("--"):
        return {"r"} if "--recursive".startswith(word.lower()) and len(word) > 2 else {word}
    if word.lower() in ("-recurse", "-rec", "-force"):
        return {"r"} if word.lower() != "-force" else {"f"}
    return set(word[1:].lower())


def _split(text: str) -> list[str] | None:
    text = _SPACES.sub(" ", text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&()<>\n")
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t\r", "", True
    try:
        return list(lexer)
    except ValueError:  # a quote that does not end: what a shell would say is not known
        return None


def _deeper(found: Sequence[str], depth: int) -> Iterator[str]:
    for word in found:
        yield word
        inner = word.removeprefix("$").strip("`(){}")
        if (
            depth
            and (" " in inner or inner != word)
            and (more := _split(inner)) is not None
            and more != [word]
        ):
            yield from _deeper(more, depth - 1)
