"""A connection's side of the protocol: what may be said when, and what follows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.effect import (
    Acknowledge,
    Ask,
    Authenticate,
    Begin,
    Effect,
    Keep,
    Part,
    Renewal,
    Say,
    Tune,
)
from backchannel.delivery.session import Limits, Session, State
from backchannel.errors import Forbidden
from backchannel.protocol.catalog import KINDS
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import Hello
from backchannel.protocol.message import Way
from tests.build import content

NOW = 1_000_000.0
EXPIRY = 2_000_000


def claims(sub: str = "ada", **fields: Any) -> Claims:
    times = {"iat": 0, "exp": EXPIRY}
    return Claims.model_validate({"sub": sub, "entity_id": sub, "jti": "t1", **times, **fields})


def new(known: bool = True, **limits: Any) -> Session:
    return Session(claims() if known else None, NOW, Limits(**limits))


def here(**limits: Any) -> Session:
    session = new(**limits)
    session.received(b'{"type":"hello"}', NOW)
    session.arrived()
    return session


def say(session: Session, said: Any, now: float = NOW) -> list[Effect]:
    return session.received(said if isinstance(said, bytes) else json.dumps(said).encode(), now)


def errors(effects: list[Effect]) -> list[str]:
    return [one.frame["code"] for one in effects if isinstance(one, Say) and one.frame["type"] == "error"]


def code(effects: list[Effect]) -> int | None:
    return next((one.code for one in effects if isinstance(one, Part)), None)


def test_hello_begins_the_session() -> None:
    session = new()
    assert say(session, {"type": "hello", "permission": "observer"}) == [Begin(Hello(permission="observer"))]
    assert session.permission == "observer"


@pytest.mark.parametrize(
    "first", [b"", b"{", b"[]", b'{"type":"ping"}', b'{"type":"hello","permission":"king"}', b"\xff"]
)
def test_any_other_first_frame_ends_it_with_4400(first: bytes) -> None:
    effects = say(new(), first)
    assert errors(effects)
    assert code(effects) == 4400


def test_a_browser_without_a_token_is_asked_for_one() -> None:
    effects = say(new(known=False), {"type": "hello"})
    assert errors(effects) == ["bad_message"]
    assert code(effects) == 4400


def test_a_browser_is_authenticated_before_it_begins() -> None:
    session = new(known=False)
    (wanted,) = say(session, {"type": "hello", "token": "x.y.z"})
    assert isinstance(wanted, Authenticate)
    assert session.state is State.NEW
    assert session.authenticated(claims(), wanted.hello) == [Begin(wanted.hello)]


def test_nothing_is_heard_while_it_is_found_out_where_the_client_left_off() -> None:
    session = new()
    say(session, {"type": "hello"})
    assert say(session, {"type": "ping"}) == []


def test_hello_comes_within_its_deadline() -> None:
    session, browser = new(), new(known=False)
    assert session.tick(NOW + 9.9) == []
    assert code(session.tick(NOW + 10)) == 4400
    assert browser.tick(NOW + 4.9) == []
    assert code(browser.tick(NOW + 5)) == 4400


def test_a_second_hello_is_an_error_and_ends_nothing() -> None:
    session = here()
    effects = say(session, {"type": "hello"})
    assert errors(effects) == ["bad_message"]
    assert code(effects) is None
    assert say(session, {"type": "ping"}) == [Say({"type": "pong"})]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"not json", "bad_frame"),
        (b"[1]", "bad_frame"),
        (b'{"a":NaN}', "bad_frame"),
        (b"[" * 5000, "bad_frame"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "bad_frame"),
        ({"no": "type"}, "unknown_type"),
        ({"type": ["ping"]}, "unknown_type"),
        ({"type": "sidebar_dance"}, "unknown_type"),
        ({"type": "memory_update"}, "bad_message"),
        (content("memory_update", context_id="a.b", exchange={"content": "x"}), "bad_message"),
        (content("memory_update", context_id=">", exchange={"content": "x"}), "bad_message"),
        (content("memory_update", context_id=7, exchange={"content": "x"}), "bad_message"),
        (content("result", in_reply_to="x", status="success"), "forbidden"),
        (content("sidebar_message", sidebar_id="x", content="y", sender_agent_id="bob"), "wrong_sender"),
        (content("security_emergency", threat_type="x"), "forbidden"),
        ({"type": "ack", "cursor": 5}, "bad_message"),
    ],
)
def test_what_is_wrong_is_told_and_the_connection_lives(said: Any, expected: str) -> None:
    session = here()
    effects = say(session, said)
    assert errors(effects) == [expected]
    assert code(effects) is None
    assert say(session, {"type": "ping"}) == [Say({"type": "pong"})]


def test_an_error_names_the_message_it_is_about() -> None:
    said = content("memory_update", context_id="main")
    (told,) = say(here(), said)
    assert isinstance(told, Say)
    assert told.frame["in_reply_to"] == said["message_id"]
    assert told.frame["field"] == "exchange"


def test_a_message_that_is_too_long_is_refused_unread() -> None:
    effects = say(here(max_message_bytes=100), b'{"type":"ping"}' + b" " * 100)
    assert errors(effects) == ["too_large"]


def test_a_good_message_is_to_be_kept() -> None:
    said = content("memory_update", context_id="main", exchange={"content": "x"}, extra=[1])
    (wanted,) = say(here(), said)
    assert isinstance(wanted, Keep)
    assert wanted.content == said


def test_each_other_way_leads_where_it_should() -> None:
    session = here()
    cursor = "0a0a0a0a.7"
    assert say(session, {"type": "ack", "cursor": cursor}) == [Acknowledge(cursor)]
    assert say(session, {"type": "ack"}) == []
    query, renew = content("query", query="status"), content("renew", token="x.y.z")
    assert isinstance(say(session, query)[0], Ask)
    assert say(session, renew) == [Renewal("x.y.z", renew["message_id"])]
    tuned, told = say(session, content("subscription_update", mode="focused", focus=["tls"]))
    assert tuned == Tune(session.subscription, None)
    assert isinstance(told, Say)
    assert told.frame["status"] == "success"
    assert session.subscription.focus == ["tls"]


def test_who_speaks_too_fast_is_told_when_to_go_on() -> None:
    session = here(messages_per_second=10, burst_seconds=1)
    for _ in range(10):
        assert say(session, {"type": "ping"}) == [Say({"type": "pong"})]
    (told,) = say(session, {"type": "ping"})
    assert isinstance(told, Say)
    assert told.frame["code"] == "rate_limited"
    assert told.frame["retryable"] is True
    assert say(session, {"type": "ping"}, NOW + told.frame["retry_after"] + 0.001) == [Say({"type": "pong"})]


def test_acknowledging_is_never_too_fast() -> None:
    session = here(messages_per_second=1, burst_seconds=1)
    for number in range(50):
        assert say(session, {"type": "ack", "cursor": f"0a0a0a0a.{number}"})[0] == Acknowledge(
            f"0a0a0a0a.{number}"
        )


def test_who_causes_nothing_but_errors_is_sent_away() -> None:
    session = here(patience=20)
    codes = [code(say(session, b"?")) for _ in range(30)]
    assert codes.count(4429) == 1
    assert say(session, {"type": "ping"}) == []


def test_messages_that_are_not_text_count_as_errors() -> None:
    session = here(patience=20)
    codes = [code(session.received_binary(NOW)) for _ in range(30)]
    assert codes.count(4429) == 1


def test_a_token_that_ends_is_announced_once_and_then_closes() -> None:
    session = here()
    assert session.tick(EXPIRY - 61) == []
    (told,) = session.tick(EXPIRY - 60)
    assert isinstance(told, Say)
    assert told.frame == {"type": "session_expiring", "at": "1970-01-24T03:33:20.000Z"}
    assert session.tick(EXPIRY - 1) == []
    assert code(session.tick(EXPIRY)) == 4401


def test_a_renewed_token_goes_on() -> None:
    session = here()
    session.tick(EXPIRY - 60)
    (told,) = session.renewed(claims(exp=10**18), "m1", NOW)
    assert isinstance(told, Say)
    assert told.frame["status"] == "success"
    assert session.tick(EXPIRY + 1) == []


@pytest.mark.parametrize("fresh", [claims("bob"), claims(collaboration_group="other")])
def test_a_token_of_somebody_else_renews_nothing(fresh: Claims) -> None:
    session = here()
    assert errors(session.renewed(fresh, "m1", NOW)) == ["forbidden"]
    assert session.claims == claims()


def test_who_is_turned_away_says_no_more() -> None:
    session = new()
    say(session, {"type": "hello"})
    effects = session.turned_away(Forbidden("No."), 4409, "one too many")
    assert errors(effects) == ["forbidden"]
    assert code(effects) == 4409
    session.arrived()
    assert say(session, {"type": "ping"}) == []
    assert session.tick(EXPIRY + 1) == []


@given(st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)), max_size=30))
def test_no_bytes_make_it_stumble(frames: list[bytes]) -> None:
    session = here()
    for body in frames:
        assert code(say(session, body)) is None


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(
        ["memory_update", "sidebar_spawn", "mention_route", "query", "renew", "ack", "ping", "hello"]
    ),
    st.dictionaries(
        st.sampled_from(
            [
                "message_id",
                "timestamp",
                "context_id",
                "exchange",
                "target_agents",
                "message",
                "cursor",
                "params",
            ]
        ),
        JSON,
    ),
)
def test_no_field_of_a_wrong_kind_makes_it_stumble(kind: str, fields: dict[str, Any]) -> None:
    session = here()
    effects = say(session, content(kind, **{name: value for name, value in fields.items() if name != "type"}))
    assert len(effects) <= 1
    assert code(effects) is None


def test_what_concerns_the_connection_is_never_stored() -> None:
    for kind in (kind for kind in KINDS.values() if kind.way is Way.CONNECTION):
        told = say(here(), content(kind.model_fields["type"].default, **kind.example))
        assert told and not any(isinstance(one, Keep) for one in told) and not errors(told)
