"""Hosts: which names a platform answers to, so that a page cannot reach it under a name of its own."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

MORE = "BACKCHANNEL_ALLOWED_HOSTS"
"""The variable in which an operator gives a platform more names."""

HERE = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of the machine itself, for whoever is on it."""

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_PORT = re.compile(r"(:[0-9]{0,5})?")


def name_of(authority: str) -> str | None:
    """The host in ``host:port`` (RFC 9110, 7.2), in the one way it is compared; None for anything else.

    Lower case, no dot at the end, addresses in their shortest form and without a zone. The port says nothing:
    a page that was led here by its own name has the right one, and a mapped port is another one.
    """
    text = authority.strip(" \t").lower()
    if text.startswith("["):
        literal, closed, port = text[1:].partition("]")
        found = address_of(literal) if closed and ":" in literal else None
    else:
        literal, colon, number = text.partition(":")
        port = colon + number
        found = _plain(literal)
    return found if _PORT.fullmatch(port) else None


def address_of(text: str) -> str | None:
    """An IP address in its shortest form, without a zone; None for what is none."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)


def is_loopback(address: str) -> bool:
    """Whether somebody at this address is on this very machine."""
    found = address_of(address)
    return found is not None and ipaddress.ip_address(found).is_loopback


def _plain(text: str) -> str | None:
    name = text.removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        return None
    return address_of(name) or name


class Hosts:
    """The names of one platform.

    Args:
        names: as people write them: with or without a port, ``*.example.org`` for all names one step below.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        written = [name.strip() for name in (*HERE, *names) if name.strip()]
        plain = [f"[{name}]" if address_of(name) and ":" in name else name for name in written]
        self._names = frozenset(filter(None, map(name_of, plain)))
        below = (name_of(name.removeprefix("*.")) for name in written if name.startswith("*."))
        self._below = frozenset(filter(None, below))

    def admits(self, authority: str, local: str | None) -> bool:
        """Whether this is a name of the platform.

        Args:
            authority: what stands in Host.
            local: the address at which the connection came in. Whoever names just that was misled by nobody:
                no name was looked up.
        """
        name = name_of(authority)
        if name is None:
            return False
        return (
            name in self._names
            or name.partition(".")[2] in self._below
            or (local is not None and name == address_of(local))
        )
