"""Sizes: how many bytes a stream may hold, who says so, and how full it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backchannel.errors import BadMessage

SIZE = "max_bytes"
"""The setting of a stream in JetStream. Without a limit it is -1."""
NO_LIMIT = -1
SMALLEST = 16 << 20
"""Bytes; where not even that can be set aside on a disk, a stream has no limit."""
WARNED = 0.8
"""The share of its size at which the person on call is told, long before a stream is full."""
VARIABLE = "BACKCHANNEL_STREAM_BYTES"
SHED_FROM, SHED_TO = 0.85, 0.75
"""The shares at which a log begins to be made smaller, and at which that ends."""
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_FORM = re.compile(r"(KV_BC_[a-z]+|BC_[A-Z]+)=([1-9][0-9]{0,15})(|KiB|MiB|GiB|TiB)")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What somebody chose, by stream (`BC_EVENTS` for the logs of all groups); elsewhere the files count."""

    chosen: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Sizes:
        """From BACKCHANNEL_STREAM_BYTES, as ``BC_EVENTS=20GiB,BC_AUDIT=8GiB``. Raises BadMessage."""
        chosen = {}
        for part in filter(None, (part.strip() for part in env.get(VARIABLE, "").split(","))):
            found = _FORM.fullmatch(part)
            size = int(found[2]) * _UNITS[found[3]] if found else 0
            if found is None or size < SMALLEST:
                raise BadMessage(
                    f"{VARIABLE} must be like BC_EVENTS=20GiB,BC_AUDIT=8GiB, each {SMALLEST >> 20}MiB or"
                    f" more; {part[:80]!r} is not.",
                    field=VARIABLE,
                )
            chosen[found[1]] = size
        return cls(chosen)

    def of(self, name: str, usual: int) -> int:
        """How large a new stream may become."""
        return self.chosen.get(_family(name), usual)

    def anew(self, found: Mapping[str, Any], usual: int) -> int:
        """How large a stream that is there may become from now on.

        What an operator set stays, unless another size is chosen. No size is set that is nearly reached: a
        stream that sheds would lose its oldest at once, one that does not would refuse everybody.

        Args:
            found: JetStream's description of it.
        """
        config = found["config"]
        now, wanted = int(config.get(SIZE, NO_LIMIT)), self.of(config["name"], usual)
        if now > 0 and _family(config["name"]) not in self.chosen:
            return now
        used = int(found["state"]["bytes"])
        return wanted if used < WARNED * wanted or (now > 0 and wanted > now) else now


USUAL = Sizes()


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a stream is. `most` is -1 where it has no limit."""

    stream: str
    bytes: int
    most: int

    @property
    def share(self) -> float:
        return self.bytes / self.most if self.most > 0 else 0.0

    @property
    def warning(self) -> str | None:
        """A sentence for the person on call, from 80 % on."""
        if self.share < WARNED:
            return None
        return f"the stream {self.stream} is {self.share:.0%} full: {self.bytes} of {self.most} bytes"

    def cut(self, first: int, last: int, *, begun: bool = False) -> int | None:
        """Up to which position of `first` to `last` a log is to be shed; None: it is small enough.

        As if all positions were equally large. Whoever sheds looks again: what must stay takes room as well.

        Args:
            begun: it is being shed already, and goes on down to the lower share.
        """
        if self.share < (SHED_TO if begun else SHED_FROM) or first >= last:
            return None
        excess = 1 - SHED_TO / self.share
        return min(first + max(math.ceil((last - first + 1) * excess), 1) - 1, last - 1)


def halved(size: int) -> int:
    """The next smaller size; no limit where that would be too small to be of use."""
    return size // 2 if size // 2 >= SMALLEST else NO_LIMIT


def _family(name: str) -> str:
    return "BC_EVENTS" if name.startswith("BC_EVENTS_") else name
