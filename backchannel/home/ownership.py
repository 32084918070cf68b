"""What of a data folder may be used: ours, closed to others, and no link to something else.

Whoever may write into a folder can put a link, a pipe or a file of their own where the platform expects its
own. So a file is judged by what was opened, not by its name: that cannot change in between. The folders above
the data folder may be links and belong to anybody, as long as not everybody may write there: who owns one can
put another folder in place, but none that is ours and bears our mark (`home.origin`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from backchannel.errors import BackchannelError

CHANGED_BY_OTHERS = 0o022
"""Rights to write, of the group and of everybody."""
SEEN_BY_OTHERS = 0o077
FOLDER_MODE = 0o700
FILE_MODE = 0o600
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
"""Without O_NONBLOCK a pipe in place of a file would hold up whoever opens it."""


class FolderError(BackchannelError):
    """The data folder, or a file in it, cannot be used as it is."""


def open_file(path: Path, flags: int = os.O_RDONLY, *, open_to: int = SEEN_BY_OTHERS) -> int:
    """A descriptor of a file that is ours alone; with O_CREAT, made for its owner only.

    Args:
        open_to: the rights that nobody but its owner may have.

    Raises:
        FolderError: it is a link, no file, somebody else's, known by a second name, or open to others.
        OSError: it cannot be opened.
    """
    _refuse_link(path)
    fd = os.open(path, flags | _READ | os.O_NOFOLLOW, FILE_MODE)
    try:
        require_own_file(os.fstat(fd), path, open_to)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read(path: Path, *, open_to: int = CHANGED_BY_OTHERS) -> str:
    """The text of such a file. Raises FolderError, OSError, UnicodeDecodeError."""
    with os.fdopen(open_file(path, open_to=open_to), encoding="utf-8") as file:
        return file.read()


def for_its_owner(path: str, flags: int) -> int:
    """An opener (`open`) of files outside of the data folder that hold what is in it."""
    return os.open(path, flags, FILE_MODE)


def require_own_file(found: os.stat_result, path: Path, open_to: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FolderError(f"{path} is {_kind(found)}, where a file should be: remove it.")
    _require_owner(found, path)
    if found.st_nlink > 1:
        raise FolderError(
            f"{path} has a second name (a hard link), by which it can be read and changed from elsewhere: "
            f"put a copy in its place with: cp -p {path} {path}.copy && mv {path}.copy {path}"
        )
    _require_closed(found, path, open_to, FILE_MODE)


def require_folder(path: Path, *, open_to: int = CHANGED_BY_OTHERS) -> None:
    """FolderError unless it is a folder of ours, no link, that others have no such rights on; OSError."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise FolderError(
            f"{path} is a link to {os.readlink(path)}: name that folder itself with --data, "
            "or put a folder in place of the link."
        )
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(0, "not a folder", str(path))
    _require_owner(found, path)
    _require_closed(found, path, open_to, FOLDER_MODE)


def require_closed_above(path: Path) -> None:
    """FolderError when everybody may put another folder in place of `path`, or of one above it."""
    for above in path.resolve().parents:
        try:
            mode = above.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise FolderError(
                f"Everybody may replace what is in {above} (mode {stat.S_IMODE(mode):04o}), and so {path}: "
                f"close it with chmod o-w {above}, or choose another folder with --data DIR."
            )


def survey(folder: Path) -> None:
    """Look through a folder and all below it. FolderError names the first thing that is wrong."""
    try:
        require_folder(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                _survey_one(entry)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise FolderError(f"{folder} cannot be looked through: {problem.strerror}.") from problem


def survey_files(paths: Iterable[Path]) -> None:
    """The same for files, each if it is there."""
    for path in paths:
        try:
            _refuse_link(path)
            require_own_file(path.lstat(), path, CHANGED_BY_OTHERS)
        except FileNotFoundError:
            continue


def close_to_others(path: Path) -> None:
    """Take the rights that an older release gave to others on a folder of ours."""
    if stat.S_IMODE(path.lstat().st_mode) & SEEN_BY_OTHERS:
        path.chmod(FOLDER_MODE)


def _survey_one(entry: os.DirEntry[str]) -> None:
    path = Path(entry.path)
    if entry.is_dir(follow_symlinks=False):
        survey(path)
        return
    survey_files([path])


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise FolderError(
            f"{path} is a link to {os.readlink(path)}, and nothing in a data folder may be one: "
            "remove it, or put the file itself in its place."
        )


def _require_owner(found: os.stat_result, path: Path) -> None:
    """Ours or root's, who may do everything anyway."""
    if found.st_uid not in (0, os.geteuid()):
        raise FolderError(
            f"{path} belongs to another user (number {found.st_uid}), who can change it at any time: "
            "choose another folder with --data DIR, or make it yours with chown if you trust what is in it."
        )


def _require_closed(found: os.stat_result, path: Path, open_to: int, mode: int) -> None:
    has = stat.S_IMODE(found.st_mode)
    if has & open_to:
        remedy = f"chmod {mode:o} {path}"
        raise FolderError(f"{path} is open to others (mode {has:04o}). Close it with: {remedy}")


def _kind(found: os.stat_result) -> str:
    match stat.S_IFMT(found.st_mode):
        case stat.S_IFDIR:
            return "a folder"
        case stat.S_IFIFO:
            return "a pipe"
        case stat.S_IFSOCK:
            return "a socket"
    return "a device"
