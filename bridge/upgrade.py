"""The gate: who may come in, decided from the request head alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol

from backchannel.delivery.hosts import MORE, Hosts, name_of
from backchannel.errors import BackchannelError, Expired
from backchannel.protocol.claims import Claims
from backchannel.service.keyring import Keyring, NoNonce, Revoked, SentAway, WrongGroup
from bridge.blotter import Blotter

BEARER_SUBPROTOCOL = "bearer."
EXPIRED = "expired"
NEUTRAL = "This needs a valid token."
"""All that a stranger is told; which of the reasons it was is for the log."""
AWAY = "You were sent away, and may come back later."
"""For somebody whose token is good: a fresh one would not help."""


@dataclass(eq=False)
class TurnedAway(Exception):
    """A request that is answered with a refusal.

    ``reason`` and ``detail`` are for the log and the metrics, ``message`` is for the client.
    """

    status: int
    reason: str
    message: str
    retry_after: int | None = None
    detail: str | None = None


class Head(Protocol):
    """Request headers; names in any case, a name may come more than once."""

    def get_all(self, name: str) -> list[str]: ...


class Gate:
    """Decides by Host, Origin and token.

    Args:
        origins: web pages that may connect; the platform answers to the names in them, too.
        hosts: more names of the platform.
    """

    def __init__(self, keyring: Keyring, origins: Iterable[str], hosts: Iterable[str] = ()) -> None:
        self.keyring = keyring
        self.rights = keyring.rights
        self.blotter = Blotter()
        self.public_url: Callable[[], str] = str
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        names = (_authority(origin) for origin in self._origins)
        self._hosts = Hosts((*names, *hosts))

    def check_host(self, head: Head, local: str | None, *, target: str = "/", old: bool = False) -> None:
        """Let pass whoever calls the platform by a name of its own.

        Args:
            local: the address at which the connection came in.
            target: of the request; an absolute one names a host itself (RFC 9112, 3.2.2).
            old: in HTTP/1.0 Host may be missing; no browser speaks that.

        Raises:
            TurnedAway: 400 or 421.
        """
        named = head.get_all("Host")
        if len(named) > 1 or not (named or old):
            raise TurnedAway(400, "bad_request", "A request names one Host.")
        if "://" in target.partition("?")[0]:
            named = [*named, _authority(target)]
        if not all(self._is_ours(one, local) for one in named):
            raise TurnedAway(
                421,
                "wrong_host",
                f"No platform of this name is served here; whoever runs it may add it to {MORE}.",
                detail=", ".join(named)[:200],
            )

    def check_origin(self, head: Head) -> bool:
        """Whether a web page asks, which must be one of ours. Raises TurnedAway."""
        origins = head.get_all("Origin")
        if any(origin.lower() not in self._origins for origin in origins):
            raise TurnedAway(403, "wrong_origin", "Pages of this origin may not connect here.")
        return bool(origins)

    def token_in(self, head: Head) -> str | None:
        """The one token in a request head. Raises TurnedAway if there are several."""
        return _only(_offered(head))

    def verified(self, token: str | None) -> Claims:
        """Claims of somebody whose token is good. Raises TurnedAway."""
        if token is None:
            raise TurnedAway(401, "no_token", NEUTRAL)
        try:
            return self.keyring.verify(token)
        except SentAway as error:
            raise TurnedAway(403, "sent_away", AWAY, detail=error.message) from None
        except BackchannelError as error:
            raise TurnedAway(401, _reason(error), NEUTRAL, detail=error.message) from None

    def check_still(self, claims: Claims) -> None:
        """That the key of the token counts still, and nobody revoked it since. Raises TurnedAway."""
        why = self.keyring.why_not_any_more(claims)
        if why is not None:
            raise TurnedAway(401, "revoked", NEUTRAL, detail=why)

    def believe(self, token: str) -> Claims:
        """Claims for a token that came in a frame. Raises TurnedAway; why is in the log."""
        try:
            return self.verified(token)
        except TurnedAway as refusal:
            self.note(refusal, None)
            raise

    def note(self, refusal: TurnedAway, remote: str | None) -> None:
        """Write down for the operator what the client is not told."""
        self.blotter.note(refusal.reason, status=refusal.status, remote=remote, detail=refusal.detail)

    def refused(self, owner: tuple[str, str], error: BackchannelError, where: str) -> None:
        """Write down that somebody known may not have what it asks for."""
        if self.blotter.chronicle is not None:
            said = {"code": error.code, "message": error.message, "field": error.field}
            self.blotter.chronicle.refused_at(owner, said, where)

    def _is_ours(self, authority: str, local: str | None) -> bool:
        if self._hosts.admits(authority, local):
            return True
        ours = _authority(self.public_url())
        return bool(ours) and name_of(authority) == name_of(ours)


def _authority(url: str) -> str:
    """Empty where the URL cannot be read."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def own_origins(host: str, port: int) -> list[str]:
    """The origins of pages that this bridge serves itself."""
    names = {host, "localhost", "127.0.0.1", "::1"}
    literals = (f"[{name}]" if ":" in name else name for name in sorted(names))
    return [f"{scheme}://{name}:{port}" for name in literals for scheme in ("http", "https")]


def _offered(head: Head) -> list[str]:
    """Every token in the head, wherever it may stand. The URL is not a place for one."""
    found = [value.strip() for value in head.get_all("X-Memory-Auth")]
    for value in head.get_all("Authorization"):
        scheme, _, credentials = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            found.append(credentials.strip())
    for value in head.get_all("Sec-WebSocket-Protocol"):
        found.extend(_from_subprotocols(value))
    return found


def _from_subprotocols(value: str) -> list[str]:
    try:
        offered = parse_subprotocol(value)
    except InvalidHeader as error:
        raise TurnedAway(400, "bad_handshake", "The offered subprotocols cannot be read.") from error
    return [name.removeprefix(BEARER_SUBPROTOCOL) for name in offered if name.startswith(BEARER_SUBPROTOCOL)]


def _reason(error: BackchannelError) -> str:
    match error:
        case Expired():
            return EXPIRED
        case WrongGroup():
            return "wrong_group"
        case Revoked():
            return "revoked"
        case NoNonce():
            return "no_nonce"
    return "bad_token"


def _only(found: list[str]) -> str | None:
    if len(set(found)) > 1:
        raise TurnedAway(401, "several_tokens", NEUTRAL)
    return found[0] if found else None
