"""Where a NATS server is, and as whom to talk to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

_LOGIN = re.compile(r"//[^@/]*@")


@dataclass(frozen=True, slots=True)
class Address:
    """A NATS URL such as ``nats://127.0.0.1:4222`` (several with commas), and a login if it wants one.

    A password that is good for one connection is a function, which is called for each. `certificate` is the
    file with the one certificate that the server must show, where that is known.
    """

    url: str = field(repr=False)
    user: str | None = None
    password: str | Callable[[], str] | None = field(repr=False, default=None)
    certificate: str | None = None

    @property
    def place(self) -> str:
        """The URL for people to read: without a login."""
        return ",".join(_LOGIN.sub("//", url.strip()) for url in self.url.split(","))
