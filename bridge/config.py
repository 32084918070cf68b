"""How a bridge is set up: its limits, its deadlines, and the names of the variables that change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from backchannel.errors import BadMessage
from backchannel.home.variables import switch

PREFIX = "BACKCHANNEL_"


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes are bytes, times are seconds. Every field may be set as ``BACKCHANNEL_<FIELD>``.

    Args:
        allowed_origins: web pages that may connect, beside those this bridge serves itself.
        allowed_hosts: names by which the platform is called, beside those it knows: of this machine, of the
            certificate, of allowed pages and of the setting `approvals.public_url`.
        max_per_address: WebSockets from one address; agents share hosts, so it is generous.
        messages_per_second: of one connection; 0 leaves it to the live setting `limits.messages_per_second`.
        agent_bytes_per_second: that one agent may have stored; 0 leaves it to the live setting
            `limits.agent_bytes_per_second`.
        upgrades_per_second: WebSocket handshakes from one address, over ten seconds; 0 for any number.
        max_handshakes: TLS handshakes from one address that may be under way; ``handshake_seconds`` is the
            longest that one may take.
        max_unauthenticated: browsers that have still to send their token in ``hello``, and
            ``max_unauthenticated_per_address`` those of them from one address.
        max_requests: HTTP connections, and ``max_requests_per_address`` those of them from one address;
            beyond either, one that waits for its next request gives way.
        head_bytes: the most a request head may be; ``head_seconds`` is the longest it may take.
        body_seconds: the longest a request body may take, and ``body_bytes_per_second`` the slowest it may
            come, after the first seconds.
        send_buffer: what the kernel keeps for one connection; left alone it grows into megabytes.
        high_water: bytes waiting in the process at which a connection counts as congested.
        overflow: bytes waiting at which a connection is dropped whatever its owner thinks of it.
        heartbeat_seconds: between two pings of a connection; 0 leaves it to the live setting
            `health.check_interval`.
        heartbeat_strikes: silent heartbeats after which a connection is given up.
        lease_seconds: for which an agent counts as connected when its bridge has died.
        close_seconds: how long a closing connection may take to say goodbye.
        retry_spread: clients told to reconnect are spread over this many seconds.
        stop_seconds: the longest an orderly stop may take.
        bearer_tokens: whether tokens without a nonce, which open any number of connections, are believed.
        tls_cert: file with the certificate to show, and ``tls_key`` with its key: TLS, and nothing else.
    """

    groups: tuple[str, ...] = ("main",)
    host: str = "127.0.0.1"
    port: int = 8002
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    max_connections: int = 10_000
    max_per_address: int = 2_000
    max_unauthenticated: int = 64
    max_unauthenticated_per_address: int = 16
    max_handshakes: int = 1_000
    max_requests: int = 512
    max_requests_per_address: int = 256
    handshake_seconds: float = 10.0
    head_bytes: int = 16_384
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_bytes_per_second: int = 4_096
    answer_seconds: float = 60.0
    max_message_bytes: int = 1_048_576
    messages_per_second: int = 0
    agent_bytes_per_second: int = 0
    upgrades_per_second: int = 1_000
    queue: int = 200
    hello_seconds: float = 10.0
    hello_token_seconds: float = 5.0
    send_buffer: int = 262_144
    high_water: int = 262_144
    overflow: int = 16_777_216
    heartbeat_seconds: float = 0.0
    heartbeat_strikes: int = 3
    lease_seconds: int = 30
    close_seconds: float = 2.0
    retry_spread: float = 5.0
    stop_seconds: float = 5.0
    backlog: int = 4096
    bearer_tokens: bool = True
    tls_cert: str = ""
    tls_key: str = ""

    @property
    def max_frame_bytes(self) -> int:
        """What is read: a message somewhat too long is answered, a longer one ends the connection."""
        return self.max_message_bytes * 3 // 2

    def with_environment(self, env: Mapping[str, str]) -> Config:
        """This, changed by the ``BACKCHANNEL_*`` variables that are set.

        Raises:
            BadMessage: a variable holds no such value; ``field`` names the variable.
        """
        changes = {
            field.name: _read(PREFIX + field.name.upper(), env[PREFIX + field.name.upper()], field.default)
            for field in fields(self)
            if env.get(PREFIX + field.name.upper())
        }
        return replace(self, **changes)


def _read(name: str, text: str, default: Any) -> Any:
    match default:
        case bool():
            return switch(name, text)
        case tuple():
            return tuple(part.strip() for part in text.split(",") if part.strip())
        case str():
            return text
        case _:
            return _number(name, text, type(default))


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    wanted = "a whole number from 0 up" if kind is int else "a number of seconds above 0"
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if value < 0 or value == float("inf") or (kind is float and not value > 0):
        raise BadMessage(f"{name} must be {wanted}, and is {text!r}.", field=name)
    return value
