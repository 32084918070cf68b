"""Callbacks: a request for approval as another program gets it, signed, with leave to answer it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from backchannel.domain.canonical import canonical
from backchannel.errors import Expired, Forbidden

AUDIENCE = "backchannel-answer"
MAY_SAY = frozenset(
    {"message_id", "request_id", "approved", "reason", "alternatives", "conditions", "reschedule"}
)
SIGNATURE, TIMESTAMP = "X-Backchannel-Signature", "X-Backchannel-Timestamp"


@dataclass(frozen=True, slots=True)
class Leave:
    """Whoever shows this answers one request in the name of one human, until `exp` (seconds since 1970)."""

    group: str
    human: str
    request_id: str
    iat: int
    exp: int

    def written(self, key: Ed25519PrivateKey) -> str:
        said = {"aud": AUDIENCE, "group": self.group, "sub": self.human, "jti": self.request_id}
        return jwt.encode(said | {"iat": self.iat, "exp": self.exp}, key, algorithm="EdDSA")

    @classmethod
    def read(cls, text: str, key: Ed25519PublicKey, now: float) -> Leave:
        """
        Raises:
            Expired: it was good once.
            Forbidden: supervision did not write it.
        """
        try:
            said = jwt.decode(
                text,
                key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                options={
                    "require": ["sub", "jti", "iat", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
            found = cls(
                str(said["group"]), str(said["sub"]), str(said["jti"]), int(said["iat"]), int(said["exp"])
            )
        except (jwt.InvalidTokenError, ValueError, KeyError, TypeError):
            raise Forbidden("This is no leave to answer that the platform gave.") from None
        if found.exp <= now:
            raise Expired("The leave to answer has lapsed; answer in another way.")
        return found


def narrowed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer on leave may say: of its one request, and of nothing else.

    Raises:
        Forbidden: it wants to decide more, or for longer.
    """
    wider = sorted(name for name in ("together", "decisions", "allow") if fields.get(name))
    if wider:
        raise Forbidden(
            f"Leave to answer is for one request, once; {', '.join(wider)} needs a token of the human.",
            field=wider[0],
        )
    return {name: value for name, value in fields.items() if name in MAY_SAY}


def call(
    event: Mapping[str, Any], leave: Leave, answer_url: str, key: Ed25519PrivateKey
) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a callback: the event, and how to answer it."""
    body = canonical(dict(event) | {"answer": {"url": answer_url, "token": leave.written(key)}})
    moment = str(leave.iat)
    signature = base64.b64encode(key.sign(moment.encode() + b"." + body)).decode()
    return body, {"Content-Type": "application/json", TIMESTAMP: moment, SIGNATURE: f"ed25519={signature}"}


def is_ours(body: bytes, headers: Mapping[str, str], key: Ed25519PublicKey) -> bool:
    """Whether a callback is the platform's, for its receiver; compare the timestamp with the clock, too."""
    algorithm, _, signature = headers.get(SIGNATURE, "").partition("=")
    try:
        raw = base64.b64decode(signature, validate=True)
        key.verify(raw, headers.get(TIMESTAMP, "").encode() + b"." + body)
    except (InvalidSignature, ValueError):
        return False
    return algorithm == "ed25519"
