"""Tokens: what is signed is believed until it expires, and nothing else ever is."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as some

from backchannel.delivery.token import MAX_TOKEN_BYTES, BadToken, draft, sign, verify
from backchannel.errors import BackchannelError, BadMessage, Expired

KEY = bytes(range(32))
NOW = 1_800_000_000
names = some.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)


def issued(**fields: Any) -> str:
    return sign(draft("ada", now=NOW, lifetime=60, jti="1", fields=fields), KEY)


def forged(key: bytes = KEY, algorithm: str = "HS256", headers: Any = None, **changes: Any) -> str:
    """A token by somebody else: the claims of `ada`, changed; None takes a claim out."""
    claims = draft("ada", now=NOW, lifetime=60, jti="1").model_dump(mode="json", exclude_none=True)
    changed = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(changed, key, algorithm=algorithm, headers=headers)


@given(
    entity=names, lifetime=some.integers(1, 10**8), level=some.sampled_from(["autonomous", "low", "locked"])
)
def test_what_was_signed_is_read_again(entity: str, lifetime: int, level: str) -> None:
    claims = draft(entity, now=NOW, lifetime=lifetime, jti="x", fields={"supervision_level": level})
    assert verify(sign(claims, KEY), KEY, NOW).model_dump() == claims.model_dump()


def test_both_names_of_a_claim_are_written() -> None:
    claims = jwt.decode(issued(), options={"verify_signature": False})
    assert (claims["sub"], claims["iat"], claims["exp"], claims["aud"]) == (
        "ada",
        NOW,
        NOW + 60,
        "backchannel",
    )
    assert (claims["entity_id"], claims["issued_at"], claims["expires_at"]) == ("ada", NOW, NOW + 60)
    assert claims["can_spawn_sidebars"] is claims["can_access_memory"] is True
    assert "nonce" not in claims


def test_a_token_is_believed_up_to_its_last_second_and_not_after() -> None:
    token = issued()
    assert verify(token, KEY, NOW + 59.9).sub == "ada"
    for late in (NOW + 60, NOW + 61, NOW + 10**9):
        with pytest.raises(Expired):
            verify(token, KEY, late)


def test_a_token_from_the_future_is_refused_but_for_a_clock_a_little_off() -> None:
    assert verify(issued(), KEY, NOW - 59).sub == "ada"
    with pytest.raises(BadToken, match="future"):
        verify(issued(), KEY, NOW - 61)


@pytest.mark.parametrize("claim", ["sub", "aud", "iat", "exp", "jti"])
def test_a_token_without_a_registered_claim_is_refused(claim: str) -> None:
    twins = {"sub": "entity_id", "iat": "issued_at", "exp": "expires_at"}
    without: dict[str, Any] = {claim: None, twins.get(claim, claim): None}
    with pytest.raises(BadToken):
        verify(forged(**without), KEY, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"},
        {"sub": "mallory"},
        {"entity_id": "mallory"},
        {"expires_at": NOW + 10**6},
        {"exp": "soon", "expires_at": "soon"},
        {"exp": float("inf"), "expires_at": float("inf")},
        {"entity_type": "god"},
        {"supervision_level": "none"},
        {"lanes": ["express"]},
        {"collaboration_group": "a.b"},
        {"sub": "a.*.>", "entity_id": "a.*.>"},
        {"can_spawn_sidebars": "yes"},
        {"tools": {"allowed": "all"}},
        {"nbf": NOW + 3600},
        {"nbf": "soon"},
        {"nbf": True},
    ],
)
def test_a_signed_token_that_claims_nonsense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        verify(forged(**changes), KEY, NOW)


def test_a_token_without_the_second_names_is_as_good() -> None:
    token = forged(entity_id=None, issued_at=None, expires_at=None)
    assert verify(token, KEY, NOW).entity_id == "ada"


def test_another_key_is_refused() -> None:
    with pytest.raises(BadToken):
        verify(forged(key=bytes(32)), KEY, NOW)


def test_no_other_algorithm_is_believed() -> None:
    body = issued().split(".")[1]
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    for token in (f"{head}.{body}.", forged(key=KEY * 2, algorithm="HS512"), f"{head}.{body}"):
        with pytest.raises(BadToken):
            verify(token, KEY, NOW)


def test_a_header_that_demands_what_is_unknown_is_refused() -> None:
    with pytest.raises(BadToken):
        verify(forged(headers={"crit": ["b64"], "b64": False}), KEY, NOW)


@given(place=some.integers(0, 10_000), letter=some.characters())
def test_a_changed_token_says_the_same_or_is_refused(place: int, letter: str) -> None:
    token = issued()
    place %= len(token)
    changed = token[:place] + letter + token[place + 1 :]
    try:
        assert verify(changed, KEY, NOW) == verify(token, KEY, NOW)
    except BackchannelError as problem:
        assert isinstance(problem, BadToken)


@given(some.text() | some.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}"))
def test_garbage_is_refused_whatever_it_is(text: str) -> None:
    with pytest.raises(BadToken):
        verify(text, KEY, NOW)


def test_an_endless_token_is_not_even_looked_at() -> None:
    with pytest.raises(BadToken, match="longer"):
        verify("a" * (MAX_TOKEN_BYTES + 1), KEY, NOW)


def test_fields_go_over_the_defaults_and_drag_their_twins_along() -> None:
    claims = draft(
        "ada", now=NOW, lifetime=60, jti="1", fields={"exp": NOW + 9, "lanes": ["high"], "team": "blue"}
    )
    assert claims.expires_at == claims.exp == NOW + 9
    assert claims.lanes == ["high"]
    assert claims.model_dump()["team"] == "blue"


@pytest.mark.parametrize(
    "fields", [{"sub": "bob"}, {"entity_id": "bob"}, {"exp": 1, "expires_at": 2}, {"exp": None}]
)
def test_fields_cannot_make_a_token_for_somebody_else_or_of_two_minds(fields: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        draft("ada", now=NOW, lifetime=60, jti="1", fields=fields)


@pytest.mark.parametrize("entity", ["", "a.b", "*", ">", "-a", "a b", "ä", "a" * 65])
def test_a_name_that_is_no_subject_token_gets_no_token(entity: str) -> None:
    with pytest.raises(BadMessage):
        draft(entity, now=NOW, lifetime=60, jti="1")
