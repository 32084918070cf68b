"""Where a data folder comes from: whether this user made it, on this machine, or took it over knowingly.

Whoever unpacks an archive owns what was in it. A `.backchannel` from a stranger's project would so pass for
one's own, with keys that the stranger knows. Therefore each data folder bears a mark that only this user can
make: its random name, under a key that is kept outside all data folders, in the user's own folder for state.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backchannel.home import files, ownership
from backchannel.home.files import FolderError, UnknownOrigin
from backchannel.home.lock import locked

MARK = "origin.json"


def state_folder(env: Mapping[str, str] = os.environ) -> Path:
    """XDG_STATE_HOME if it is an absolute path, else `~/.local/state`; ours is `backchannel` in it.

    The home folder is the one that the system knows of the user: programs that start others set HOME as they
    like, and a folder that one process made must be one of ours for the next. Raises FolderError.
    """
    named = Path(env.get("XDG_STATE_HOME", ""))
    if named.is_absolute():
        return named / "backchannel"
    with contextlib.suppress(KeyError, ImportError, OSError):
        import pwd  # not everywhere

        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
        if home.is_dir() and home.stat().st_uid == os.geteuid():
            return home / ".local" / "state" / "backchannel"
    try:
        return Path.home() / ".local" / "state" / "backchannel"
    except RuntimeError as problem:
        raise FolderError(f"{problem} Set XDG_STATE_HOME to a folder of yours.") from problem


class Origin:
    """Whose a data folder is; looked up once.

    Args:
        rooms: folders in it, and `files`: files in it, that a platform would believe.
    """

    def __init__(self, folder: Path, rooms: Sequence[str], files: Sequence[str]) -> None:
        self._folder = folder
        self._rooms = [folder / name for name in rooms]
        self._files = [folder / name for name in files]
        self.ours = False

    def look(self) -> None:
        """Raises FolderError when others can change it, UnknownOrigin without our mark, OSError."""
        ownership.require_folder(self._folder)
        if self.ours:
            return
        ownership.require_closed_above(self._folder)
        if is_marked(self._folder):
            self.ours = True
        # It may have been made just now, by a process that marked it first.
        elif not self._is_new() and not is_marked(self._folder):
            raise UnknownOrigin(
                f"The data folder {self._folder} was not made here by this user, and whoever made it may "
                "know its keys. If it came with something you unpacked, choose another with --data DIR. If "
                "it is yours, from another machine, user or release, take it over once with: "
                f"backchannel up --adopt --data {self._folder}"
            )

    def mark_new(self) -> None:
        """Before anything is put into a new folder, by one process at a time. Raises FolderError, OSError."""
        self.look()
        if not self.ours:
            self.mark()
            self.ours = True

    def mark(self) -> None:
        """Make it one of this user's. Raises FolderError, OSError."""
        name = secrets.token_hex(16)
        told = {"id": name, "mark": _mark(_made_key(state_folder()), name)}
        files.write(self._folder / MARK, json.dumps(told) + "\n")

    @contextlib.contextmanager
    def taken_over(self) -> Iterator[None]:
        """Inside, it counts as ours whoever made it; afterwards too, unless that failed."""
        self.ours = True
        try:
            yield
        except BaseException:
            self.ours = False
            raise

    def _is_new(self) -> bool:
        """Whether nothing is in it yet that a platform would believe."""
        filled = (room.is_symlink() or (room.is_dir() and any(room.iterdir())) for room in self._rooms)
        return not any(path.is_symlink() or path.is_file() for path in self._files) and not any(filled)


def is_marked(folder: Path) -> bool:
    """Whether a data folder bears a mark of this user. Raises FolderError when mark or key is damaged."""
    path = folder / MARK
    try:
        told = files.parse(files.read_own(path), path)
        key = _key(state_folder())
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    match told:
        case {"id": str() as name, "mark": str() as mark}:
            return hmac.compare_digest(_mark(key, name).encode(), mark.encode("utf-8", "replace"))
    return False


def _mark(key: bytes, name: str) -> str:
    return hmac.digest(key, b"backchannel data folder\0" + name.encode("utf-8", "replace"), "sha256").hex()


def _key(state: Path) -> bytes:
    """Raises FileNotFoundError where there is none yet."""
    path = state / "origin.key"
    return files.decode_key(files.read_own(path, secret=True).strip(), path)


def _made_key(state: Path) -> bytes:
    """Made on first use, by one process at a time."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        ownership.require_folder(state)
        with locked(state):
            if not (state / "origin.key").exists():
                files.write(state / "origin.key", files.new_key())
            return _key(state)
    except OSError as problem:
        raise FolderError(
            f"Which data folders are yours is kept in {state}, and that cannot be written: "
            f"{files.reason(problem)}. Set XDG_STATE_HOME to a folder that can."
        ) from problem
