"""The gate: who may come in, decided from the request head alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from backchannel.errors import BackchannelError, Expired
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import SUBPROTOCOL
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
    """Decides by Origin and token.

    Args:
        origins: web pages that may connect.
    """

    def __init__(self, keyring: Keyring, origins: Iterable[str]) -> None:
        self.keyring = keyring
        self.rights = keyring.rights
        self.blotter = Blotter()
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    def admit(self, head: Head) -> Claims | None:
        """Claims for a WebSocket; None for an allowed page that will send its token in ``hello``.

        Raises:
            TurnedAway: 401 or 403.
        """
        from_browser = self._check_origin(head)
        token = _only(_offered(head))
        if token is None and from_browser:
            return None
        return self._believe(token)

    def admit_request(self, head: Head) -> Claims:
        """Claims for an HTTP request, which must bring its token. Raises TurnedAway."""
        self._check_origin(head)
        return self._believe(_only(_offered(head)))

    def believe(self, token: str) -> Claims:
        """Claims for a token that came in a frame. Raises TurnedAway; why is in the log."""
        try:
            return self._believe(token)
        except TurnedAway as refusal:
            self.note(refusal, None)
            raise

    def note(self, refusal: TurnedAway, remote: str | None) -> None:
        """Write down for the operator what the client is not told."""
        self.blotter.note(refusal.reason, status=refusal.status, remote=remote, detail=refusal.detail)

    def _check_origin(self, head: Head) -> bool:
        origins = head.get_all("Origin")
        if any(origin.lower() not in self._origins for origin in origins):
            raise TurnedAway(403, "wrong_origin", "Pages of this origin may not connect here.")
        return bool(origins)

    def _believe(self, token: str | None) -> Claims:
        if token is None:
            raise TurnedAway(401, "no_token", NEUTRAL)
        try:
            return self.keyring.verify(token)
        except SentAway as error:
            raise TurnedAway(403, "sent_away", AWAY, detail=error.message) from None
        except BackchannelError as error:
            raise TurnedAway(401, _reason(error), NEUTRAL, detail=error.message) from None


class Handshake(ServerProtocol):
    """The WebSocket protocol with our one subprotocol, which a client may leave out."""

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in subprotocols else None


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
