"""What takes bytes from outside, each with what must hold whatever the bytes are."""

from __future__ import annotations

import json
from collections.abc import Callable

from backchannel.client.notice import read_event
from backchannel.delivery.audience import life
from backchannel.delivery.cursor import Cursor
from backchannel.delivery.effect import Effect, Keep, Part
from backchannel.delivery.session import Session, State
from backchannel.delivery.token import draft, sign, verify
from backchannel.errors import BackchannelError
from backchannel.protocol.catalog import FROM_CLIENTS, KINDS, read_message
from backchannel.protocol.identifier import is_identifier
from backchannel.protocol.json_object import read_object
from backchannel.protocol.lane import LANES
from backchannel.protocol.sealed import envelope_in
from backchannel.protocol.subject import asked, locate
from backchannel.service.admit import Sender, entries_of
from tests.build import content

NOW = 1_800_000_000
KEY = b"k" * 32
CLAIMS = draft("ada", now=NOW, lifetime=3600, jti="1", fields={"lanes": [lane.value for lane in LANES]})
TOKEN = sign(CLAIMS, KEY)


def of_a_session(body: bytes) -> None:
    """A connection that is welcome answers with effects, and stores nothing outside its own place."""
    session = Session(CLAIMS, NOW)
    session.state = State.HERE
    for effect in session.received(body, NOW):
        _check(effect)


def of_a_hello(body: bytes) -> None:
    """A connection's first frame begins it or ends it."""
    for claims in (CLAIMS, None):
        session = Session(claims, NOW)
        effects = session.received(body, NOW)
        assert effects and session.state in (State.NEW, State.ARRIVING, State.GONE)
        ends = [effect.code for effect in effects if isinstance(effect, Part)]
        assert all(code in (1000, *range(4400, 4500)) for code in ends)


def of_a_token(body: bytes) -> None:
    """A token that was changed is refused, or says what it said before."""
    try:
        claims = verify(body.decode("utf-8", "replace"), KEY, NOW)
    except BackchannelError:
        return
    assert claims == verify(TOKEN, KEY, NOW)


def of_a_subject(body: bytes) -> None:
    """A subject that is understood is the one that was meant."""
    subject = body.decode("utf-8", "replace")
    found = locate(subject)
    assert found is None or found.to.subject(found.group, found.lane) == subject
    command = asked(subject)
    assert command is None or subject.count(".") == 5


def of_an_event(body: bytes) -> None:
    """Whatever lies in the log, readers go on."""
    try:
        event = read_object(body)
    except BackchannelError:
        return
    life(event)
    read_event(event)
    try:
        read_message(event)
    except BackchannelError as error:
        json.dumps(error.message)


def of_an_envelope(body: bytes) -> None:
    try:
        envelope_in(body.decode("utf-8", "replace"))
    except BackchannelError:
        return


def of_a_cursor(body: bytes) -> None:
    text = body.decode("utf-8", "replace")
    try:
        cursor = Cursor.parse(text)
    except BackchannelError:
        return
    assert str(cursor) == text


def _check(effect: Effect) -> None:
    if not isinstance(effect, Keep):
        return
    try:
        entries = entries_of(Sender(CLAIMS), effect.content, effect.message)
    except BackchannelError:
        return
    for entry in entries:
        tokens = entry.subject.split(".")
        assert tokens[:2] == ["bc", "main"] and tokens[2] in ("cmd", "evt")
        assert all(is_identifier(token) for token in tokens)
        assert entry.headers["Nats-Msg-Id"].startswith("ada:")
        assert not [value for value in entry.headers.values() if "\r" in value or "\n" in value]
        assert json.loads(entry.payload)["sender_agent_id"] == "ada"


def _messages() -> list[bytes]:
    kinds = sorted(FROM_CLIENTS)
    return [json.dumps(content(kind, **KINDS[kind].example)).encode() for kind in kinds]


_HELLO = json.dumps(
    {
        "type": "hello",
        "permission": "active",
        "purpose": "primary",
        "resume": {"session": "s", "cursor": "0123abcd.7"},
        "intake": {"specialties": ["tls"], "availability": "available", "preferred_collaborators": ["bob"]},
        "subscription": {"mode": "focused", "focus": ["tls"], "peripheral_awareness": True},
        "quality": {"slow_connection": "summaries"},
    }
).encode()
_ENVELOPE = json.dumps(
    {"sealed": "v1", "sender_key": "A" * 43, "ephemeral": "A" * 43, "nonce": "A" * 16, "ciphertext": "A" * 22}
    | {"readers": {"bob": {"key": "A" * 43, "wrapped": "A" * 64}}}
).encode()

TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "session": (of_a_session, [*_messages(), b'{"type":"ack","cursor":"0123abcd.7"}', b'{"type":"ping"}']),
    "hello": (of_a_hello, [_HELLO]),
    "token": (of_a_token, [TOKEN.encode()]),
    "subject": (
        of_a_subject,
        [b"bc.main.evt.ctx.x.normal.talk", b"bc.main.cmd.low.a.t", b"bc.g.evt.all.x.presence"],
    ),
    "event": (of_an_event, _messages()),
    "envelope": (of_an_envelope, [_ENVELOPE]),
    "cursor": (of_a_cursor, [b"0123abcd.7"]),
}
"""Each target, and what its mutations begin with beside its corpus."""
