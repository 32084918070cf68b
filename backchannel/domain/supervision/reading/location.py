"""Locations: the files that a text names, as plain paths, however the path is written."""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase, translate
from functools import lru_cache

from backchannel.domain.supervision.reading.spelling import alternatives

LONGEST = 4096
"""Characters of a path; a longer text is none."""
HOME = "/home/~"
"""Where the folder of whoever runs the tool is said to lie."""

_FILE_URL = re.compile(
    r"^(?:[a-z0-9+-]{1,16}:)?(?:file|local_file|netdoc):(?://[^/]*(?=/)|(?=/)|)", re.IGNORECASE
)
_OTHER_URL = re.compile(r"^[a-z][a-z0-9+.-]{1,31}://[^/]", re.IGNORECASE)
_DRIVE = re.compile(r"^(?://[.?]/)?(?:unc/)?([a-z]):(?=/|$)", re.IGNORECASE)
_DEVICE = re.compile(r"^//[.?]/", re.IGNORECASE)
_HOMES = re.compile(
    r"^(?:~|\$home|\$\{home(?::[^}]{0,64})?\}|%userprofile%|%home%|%homepath%|%homedrive%%homepath%|\$env:(?:userprofile|home)"
    r"|%appdata%|%localappdata%)(?=/|$)",
    re.IGNORECASE,
)
_SOMEBODYS = re.compile(r"^~([a-z_][a-z0-9_.-]{0,63})(?=/|$)", re.IGNORECASE)
_MANY_DOTS = re.compile(r"(?:^|/)\.{4,}(?:/|$)")
_WILD = re.compile(r"[*?\[]")
_VARIABLE = re.compile(r"\$[a-z_{(]|%[a-z_]{2,32}%|`", re.IGNORECASE)
_LOOKS_LIKE_ONE = re.compile(
    r"^(?:~|\.{0,2}/|\$[a-z_{]|%[a-z]{2,32}%/|(?:[a-z0-9+-]{1,16}:)?file:|[a-z]:/)|/\.\.(?:/|$)",
    re.IGNORECASE,
)


def is_url(text: str) -> bool:
    """Whether it names something by a scheme that is not a file's."""
    return _OTHER_URL.match(text) is not None and not _FILE_URL.match(text)


def slashed(text: str) -> str:
    return text.replace("\\", "/")


def looks_like_a_path(text: str) -> bool:
    """Whether a plain text can hardly be anything but a path, whatever it stands under."""
    return len(text) <= LONGEST and _LOOKS_LIKE_ONE.search(slashed(text)) is not None


def paths(text: str) -> tuple[list[str], str | None]:
    """The paths that a plain text stands for, and why that may not be all of them."""
    if len(text) > LONGEST:
        return [], None
    spelled = alternatives(slashed(text))
    if spelled is None:
        return [posixpath.normpath(slashed(text))], "its braces stand for too many paths"
    found = list(dict.fromkeys(_plain_path(one) for one in spelled))
    if any(_VARIABLE.search(one) for one in found):
        return found, "what its variables or commands stand for is not known here"
    if any(_MANY_DOTS.search(one) for one in found):
        return found, "its dots may lead out of a folder where somebody strips them"
    return found, None


def matching(path: str, rules: tuple[str, ...]) -> list[str]:
    """The rules that are about a plain path, in either case; also where the path is a pattern itself."""
    path = path.casefold()
    spelled = (path,) if path.startswith("/") else (path, f"./{path}")
    wild = _WILD.search(path) is not None
    if not wild and not any(map(_expression(rules).match, spelled)):
        return []
    return [
        rule
        for rule in rules
        if any(map(_expression((rule,)).match, spelled)) or (wild and _could_match(path, rule.casefold()))
    ]


@lru_cache(maxsize=1024)
def _expression(rules: tuple[str, ...]) -> re.Pattern[str]:
    """A rule about all that lies in a folder is about the folder, too."""
    kinds = [rule.casefold() for rule in rules]
    kinds += [rule.removesuffix("/*") for rule in kinds if rule.endswith("/*")]
    return re.compile("|".join(map(translate, kinds)) or r"(?!)")


def _could_match(path: str, rule: str) -> bool:
    """Whether a path with wildcards may stand for something in the folder that a rule names."""
    if not rule.endswith("/*"):
        return False
    folder, parts = rule[:-2].split("/"), path.split("/")
    if folder[0] != "*":
        return len(parts) >= len(folder) and all(map(_stands_for, parts, folder))
    names = folder[1:]
    runs = (parts[start : start + len(names)] for start in range(len(parts) - len(names) + 1))
    return any(set("".join(run)) - {"*"} and all(map(_stands_for, run, names)) for run in runs)


def _stands_for(part: str, name: str) -> bool:
    """A shell's ``*`` matches no name that begins with a dot."""
    return fnmatchcase(name, part) and (not name.startswith(".") or part.startswith((".", "[")))


def joined(base: str, text: str) -> str:
    """A path that is seen from a folder."""
    return posixpath.normpath(posixpath.join(base, text))


def _plain_path(text: str) -> str:
    path = _FILE_URL.sub("", text.strip())
    path = path.partition("::$")[0] if "::$" in path else path
    path = _DRIVE.sub("", path)
    path = _DEVICE.sub("/", path)
    path = _HOMES.sub(HOME, path)
    path = _SOMEBODYS.sub(lambda found: "/root" if found[1].lower() == "root" else f"/home/{found[1]}", path)
    path = re.sub(r"^//+", "/", posixpath.normpath(path)) if path else text.strip()
    return re.sub(r"^/private(?=/(?:etc|var|tmp)(?:/|$))", "", path)
