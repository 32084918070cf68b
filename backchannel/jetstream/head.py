"""NATS message headers, to and from bytes."""

from __future__ import annotations

from collections.abc import Mapping

from backchannel.errors import BadMessage

OPENING = b"NATS/1.0"
_BLANK = str.maketrans({"\r": " ", "\n": " "})


def write_head(headers: Mapping[str, str] | None) -> bytes:
    """The header block of a message; empty for no headers. Line breaks in a value become blanks.

    Raises:
        BadMessage: a name is not made of visible ASCII characters, or holds a colon.
    """
    if not headers:
        return b""
    lines = [OPENING]
    for name, value in headers.items():
        if not (name.isascii() and name.isprintable()) or not name or ":" in name or " " in name:
            raise BadMessage(f"{name[:40]!r} cannot be the name of a message header.")
        lines.append(f"{name}: {value.translate(_BLANK)}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def read_head(head: bytes) -> dict[str, str] | None:
    """The headers in a block; None for none. The status, if there is one, is not among them."""
    if not head:
        return None
    headers = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            headers[name.decode("ascii", "replace").strip()] = value.strip().decode("utf-8", "replace")
    return headers or None


def status_of(head: bytes) -> int:
    """The status code in a header block, such as 503 for "nobody listens"; 0 for an ordinary message."""
    code = head[9:12]
    return int(code) if head[8:9] == b" " and code.isdigit() else 0


def status_text(head: bytes) -> str:
    """What the server says beside the status code."""
    return head[12 : head.find(b"\r\n")].decode("utf-8", "replace").strip()
