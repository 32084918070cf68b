"""Segment files: a copy of the trail as lines of text, appended, synced, and never written to again."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from backchannel.domain.audit import Damaged, Link, read_link
from backchannel.home.files import reason
from backchannel.logger import Logger

log = Logger(__name__)

ROTATED_AT = 64 << 20
LONGEST_LINE = 2 << 20
SUFFIX = ".jsonl"


class Segments:
    """The files of one group: each is named after the position of its first record.

    A new one begins when the last is large, when a day (UTC) begins, and whenever the last was changed by
    somebody else: what is written stays as it is, also for whoever wants to know what happened to it.
    """

    name = "segments"

    def __init__(self, folder: Path, group: str, *, rotated_at: int = ROTATED_AT) -> None:
        self._folder = folder / "segments" / group
        self._rotated_at = rotated_at
        self._file: int | None = None
        self._path = self._folder
        self._size = 0
        self._day = ""

    def open(self) -> tuple[Link | None, list[str]]:
        """The last record, and what is wrong with the end. Half a line, cut off by a death, is taken away.

        Raises:
            OSError: the folder or the file cannot be used.
        """
        self.close()
        _make_folder(self._folder)
        for path in reversed(files_of(self._folder)):
            _trim(path)
            end = _last_lines(path)
            link, faults = _last_readable(path, end)
            if link is not None:
                if not faults:
                    self._go_on(path)
                return link, faults
            if end:
                return None, faults
        return None, []

    def append(self, links: Sequence[Link]) -> list[str]:
        """Write them and wait for the disk; what was found wrong with the file meanwhile.

        Raises:
            OSError: not all of them could be written; then none of them is.
        """
        faults = self._require_untouched()
        for day, group in itertools.groupby(links, key=lambda link: str(link.fields["at"])[:10]):
            together = list(group)
            if self._file is None or self._size >= self._rotated_at or day != self._day:
                self._begin(together[0])
            self._write(b"".join(link.body + b"\n" for link in together))
        return faults

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _go_on(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._path = path
        self._size = os.fstat(self._file).st_size
        self._day = _first_day(path)

    def _begin(self, link: Link) -> None:
        self.close()
        for number in range(1000):
            again = f"-{number}" if number else ""
            path = self._folder / f"{link.position:012d}{again}{SUFFIX}"
            try:
                self._file = os.open(
                    path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
                )
            except FileExistsError:
                continue
            self._path, self._size, self._day = path, 0, link.fields["at"][:10]
            _sync_folder(self._folder)
            return
        raise OSError(f"{self._folder} holds too many files for position {link.position}")

    def _require_untouched(self) -> list[str]:
        """Whether the file is still the one we wrote; if not, the next record begins another."""
        if self._file is None:
            return []
        try:
            there = os.stat(self._path)
            ours = os.fstat(self._file)
            untouched = (there.st_ino, there.st_dev) == (
                ours.st_ino,
                ours.st_dev,
            ) and ours.st_size == self._size
        except FileNotFoundError:
            untouched = False
        if untouched:
            return []
        self.close()
        return [f"{self._path.name} was changed by somebody else"]

    def _write(self, text: bytes) -> None:
        assert self._file is not None
        written = 0
        try:
            while written < len(text):
                written += os.write(self._file, memoryview(text)[written:])
            os.fdatasync(self._file)
        except OSError:
            self._take_back()
            raise
        self._size += len(text)

    def _take_back(self) -> None:
        """Half of what was to be written must not stay; if it cannot be helped, `open` will see to it."""
        assert self._file is not None
        try:
            os.ftruncate(self._file, self._size)
        except OSError as problem:
            log.warning("segment_left_torn", path=str(self._path), problem=reason(problem))
            self.close()


def files_of(folder: Path) -> list[Path]:
    """The segment files of one group, in order."""

    def place(path: Path) -> tuple[int, int]:
        position, _, again = path.stem.partition("-")
        return int(position), int(again or 0)

    found = [path for path in folder.glob(f"*{SUFFIX}") if path.stem.replace("-", "", 1).isdecimal()]
    return sorted(found, key=place)


def lines_of(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Every line without its end, and whether it has one; no more than a line is held in memory."""
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            yield line.removesuffix(b"\n"), line.endswith(b"\n")


def _make_folder(folder: Path) -> None:
    for part in (folder.parent.parent, folder.parent, folder):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)


def _trim(path: Path) -> None:
    """Take away a last line that has no end."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        start = max(0, end - LONGEST_LINE)
        file.seek(start)
        kept = start + file.read().rfind(b"\n") + 1
        if kept != end:
            log.warning("segment_trimmed", path=str(path), bytes=end - kept)
            file.truncate(kept)
            os.fsync(file.fileno())


def _last_lines(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        start = max(0, end - LONGEST_LINE)
        file.seek(start)
        lines = file.read().split(b"\n")[:-1]
        return lines[1:] if start else lines


def _last_readable(path: Path, lines: Sequence[bytes]) -> tuple[Link | None, list[str]]:
    faults: list[str] = []
    for line in reversed(lines):
        try:
            return read_link(line), faults
        except Damaged as problem:
            faults = faults or [f"the end of {path.name} is damaged: {problem}"]
    return None, faults


def _first_day(path: Path) -> str:
    for line, _ in lines_of(path):
        try:
            return str(read_link(line).fields["at"])[:10]
        except Damaged:
            break
    return ""


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
