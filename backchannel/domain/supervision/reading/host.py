"""Hosts: which machine a text names, in any of the ways in which addresses are written."""

from __future__ import annotations

import ipaddress
import re

LOOPBACK, METADATA = "localhost 127.0.0.1", "169.254.169.254"
"""What a host is called in the rules: this machine, and the place where clouds keep credentials."""

_THIS_MACHINE = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "loopback")
_ENDS_HERE = (".localhost", ".localdomain", ".localtest.me", ".lvh.me", ".vcap.me", ".lacolhost.com")
_NAMES_AN_ADDRESS = (".nip.io", ".sslip.io", ".xip.io")
_METADATA = (
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
)
_METADATA_ADDRESSES = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"),
    )
)
_LINK = ipaddress.ip_network("169.254.0.0/16")
_INSIDE = (
    (ipaddress.ip_network("64:ff9b::/96"), 0),
    (ipaddress.ip_network("64:ff9b:1::/48"), 0),
    (ipaddress.ip_network("::/96"), 0),
    (ipaddress.ip_network("::ffff:0:0:0/96"), 0),
    (ipaddress.ip_network("2002::/16"), 80),
)
"""IPv6 networks whose addresses hold an IPv4 address, and how many bits stand behind it."""
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{0,31}):[/\\]{1,4}([^\s/\\?#\"'<>|,;)]{1,512})", re.IGNORECASE)
_WITHOUT_SLASHES = re.compile(r"\b(?:https?|wss?|ftp):([^\s/\\?#\"'<>|,;)]{1,512})", re.IGNORECASE)
_RELATIVE = re.compile(r"[/\\]{2}([^\s/\\?#\"'<>]{1,512})")
_BARE = re.compile(r"[^\s/\\?#\"'<>]{1,512}")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)
_DOTTED = re.compile(
    r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){1,3}\.?(?::\d{1,5})?(?=[/?#]|$)", re.IGNORECASE
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def called(text: str, *, is_named: bool) -> list[str]:
    """What the rules call the machines that a plain text names.

    Args:
        is_named: the text stands under a name like ``host`` or ``url``, so that a bare word is a machine.
    """
    found = [authority for scheme, authority in _URL.findall(text) if scheme.lower() != "file"]
    found += _WITHOUT_SLASHES.findall(text)
    found += [one[1] for one in (_RELATIVE.match(text),) if one]
    if is_named and (bare := _BARE.match(text)):
        found.append(bare[0])
    elif (_DOTTED.match(text) and text.count(".") == 3) or text.startswith("["):
        found.append(text.split("/")[0])
    return list(dict.fromkeys(name for one in found if (name := _called(_host(one)))))


def _host(authority: str) -> str:
    """Without who logs in, the port, brackets, a zone, and the dot of the root."""
    host = authority.rpartition("@")[2].strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0].partition("%")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.partition("%")[0].rstrip(".")


def _called(host: str) -> str | None:
    if not host:
        return LOOPBACK  # http://:8080/ is this machine to many programs
    if host in _METADATA:
        return METADATA
    if host in _THIS_MACHINE or host.endswith(_ENDS_HERE):
        return LOOPBACK
    if host.endswith(_NAMES_AN_ADDRESS):
        return LOOPBACK  # whose address it is, is written in the name, in one of many ways
    address = _address(host)
    return None if address is None else _called_address(address)


def _called_address(address: Address) -> str | None:
    if isinstance(address, ipaddress.IPv6Address) and (inside := _inside(address)) is not None:
        return _called_address(inside)
    if address in _METADATA_ADDRESSES or (address.version == 4 and address in _LINK):
        return METADATA
    return LOOPBACK if address.is_loopback or address.is_unspecified or _is_null(address) else None


def _is_null(address: Address) -> bool:
    """0.0.0.0/8 is this host (RFC 1122)."""
    return address.version == 4 and int(address) >> 24 == 0


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    for network, behind in _INSIDE:
        if address in network and int(address) > 1:
            return ipaddress.IPv4Address(int(address) >> behind & 0xFFFF_FFFF)
    return None


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return _as_inet_aton(host)


def _as_inet_aton(host: str) -> ipaddress.IPv4Address | None:
    """``127.1``, ``0x7f000001``, ``017700000001``, ``2130706433``: what inet_aton(3) takes."""
    parts = host.split(".")
    if not 1 <= len(parts) <= 4 or not all(_NUMBER.fullmatch(part) and len(part) <= 16 for part in parts):
        return None
    numbers = [_number(part) for part in parts]
    if None in numbers:
        return None
    *first, last = [number for number in numbers if number is not None]
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        return None
    value = last + sum(number << 8 * (3 - place) for place, number in enumerate(first))
    return ipaddress.IPv4Address(value)


def _number(part: str) -> int | None:
    try:
        if part.lower().startswith("0x"):
            return int(part[2:] or "0", 16)
        return int(part, 8) if len(part) > 1 and part.startswith("0") else int(part)
    except ValueError:
        return int(part) if part.isdecimal() else None
