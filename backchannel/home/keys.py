"""The files of the keys that sign tokens, read again whenever they have changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from backchannel.delivery.keys import Key, Keys
from backchannel.home import files
from backchannel.home.files import FolderError
from backchannel.logger import Logger

log = Logger("backchannel.keys")
Stamp = tuple[int, ...]


class KeyFiles:
    """The keys as the files have them now. While these cannot be read, the keys stay what they were.

    Args:
        read: reads all of them. Raises FolderError.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], Keys]) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._stamp = self._look()
        self._keys = read()

    def __call__(self) -> Keys:
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            self._read_again()
        return self._keys

    def _read_again(self) -> None:
        try:
            self._keys = self._read()
        except FolderError as problem:
            log.error("keys_not_read", problem=problem.message)
        else:
            log.info("keys_read", current=self._keys.current.kid, former=len(self._keys.former))

    def _look(self) -> tuple[Stamp, ...]:
        return tuple(map(_stamp, self._paths))


def read_keys(current: Path, former: Path | None, *, checked: bool = True) -> Keys:
    """Raises FolderError."""
    key = Key(files.decode_key(files.read_secret(current, checked=checked), current))
    if former is None or not (former.exists() or former.is_symlink()):
        return Keys(key)
    listed = files.parse(files.read_secret(former, checked=checked), former).get("keys")
    if not isinstance(listed, list):
        raise FolderError(f"{former} does not list keys.")
    before = [_former(entry, former) for entry in listed]
    return Keys(key, tuple(one for one in before if one.secret != key.secret))


def written(former: Sequence[Key]) -> str:
    """The content of the file of former keys."""
    keys = [{"key": files.encode_key(key.secret), "until": key.until, "kid": key.kid} for key in former]
    return json.dumps({"keys": keys}, indent=1) + "\n"


def rotate(current: Path, former: Path, keep: float) -> Keys:
    """Sign with a new key from now on; believe the one before for `keep` seconds.

    The former keys are written first: a crash in between leaves the current key in both files,
    where it counts as the current one.
    """
    now = time.time()
    keys = read_keys(current, former).rotated(files.random_key(), now, now + keep)
    files.write(former, written(keys.former), mode=0o600)
    files.write(current, files.encode_key(keys.current.secret) + "\n", mode=0o600)
    return keys


def retire(current: Path, former: Path) -> Keys:
    """Sign with a new key from now on, and believe no other; the current one goes first."""
    files.write(current, files.new_key(), mode=0o600)
    files.write(former, written(()), mode=0o600)
    return read_keys(current, former)


def _former(entry: object, path: Path) -> Key:
    match entry:
        case {"key": str() as text, "until": int() | float() as until}:
            return Key(files.decode_key(text, path), float(until))
    raise FolderError(f"{path} lists something that is not a key with an end (`key`, `until`).")


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode)
