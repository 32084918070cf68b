"""Keys of tokens: rotated without a moment at which a good token is refused; none outlives its key."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as some

from backchannel.delivery.keys import MOST_FORMER, Key, Keys
from backchannel.delivery.token import BadToken, draft, sign, verify
from backchannel.errors import Expired

NOW = 1_800_000_000
OLD, NEW = b"o" * 32, b"n" * 32


def token(key: bytes, lifetime: int = 3600) -> str:
    return sign(draft("ada", now=NOW, lifetime=lifetime, jti="1"), key)


def test_a_token_names_its_key_and_not_the_secret() -> None:
    kid = jwt.get_unverified_header(token(OLD))["kid"]
    assert kid == Key(OLD).kid != Key(NEW).kid
    assert kid not in OLD.hex() and "o" * 8 not in repr(Key(OLD))


def test_after_a_rotation_both_keys_are_believed_until_the_older_lapses() -> None:
    keys = Keys(Key(OLD)).rotated(NEW, NOW, NOW + 100)
    assert verify(token(NEW), keys, NOW).sub == verify(token(OLD), keys, NOW + 99).sub == "ada"
    with pytest.raises(BadToken):
        verify(token(OLD), keys, NOW + 100)
    assert verify(token(NEW), keys, NOW + 100).kid == Key(NEW).kid


def test_no_token_outlives_its_key() -> None:
    keys = Keys(Key(OLD)).rotated(NEW, NOW, NOW + 100)
    assert verify(token(OLD), keys, NOW).exp == NOW + 100
    assert verify(token(OLD, 50), keys, NOW).exp == NOW + 50
    with pytest.raises(Expired):
        verify(token(OLD, 50), keys, NOW + 50)


def test_a_token_without_a_key_id_may_be_of_any_key_and_one_with_a_foreign_id_of_none() -> None:
    keys = Keys(Key(OLD)).rotated(NEW, NOW, NOW + 100)
    claims = draft("ada", now=NOW, lifetime=60, jti="1").model_dump(mode="json", exclude_none=True)
    assert verify(jwt.encode(claims, OLD, algorithm="HS256"), keys, NOW).kid == Key(OLD).kid
    for kid in (Key(OLD).kid, "elsewhere", "../../token.key", ""):
        with pytest.raises(BadToken):
            verify(jwt.encode(claims, NEW, algorithm="HS256", headers={"kid": kid}), keys, NOW)


@pytest.mark.parametrize("header", [{"alg": "HS512"}, {"crit": ["exp"]}, {"kid": "x" * 65}, {"kid": "a\nb"}])
def test_a_header_of_another_kind_is_refused_before_any_key_is_tried(header: dict[str, Any]) -> None:
    claims = draft("ada", now=NOW, lifetime=60, jti="1").model_dump(mode="json", exclude_none=True)
    with pytest.raises(BadToken):
        verify(jwt.encode(claims, NEW * 2, header.get("alg", "HS256"), headers=header), NEW * 2, NOW)


@given(some.lists(some.tuples(some.integers(0, 50), some.integers(0, 200)), max_size=40))
def test_whatever_the_rotations_lapsed_keys_go_and_the_list_stays_short(
    rotations: list[tuple[int, int]],
) -> None:
    keys, now = Keys(Key(OLD)), NOW
    for number, (passed, kept) in enumerate(rotations):
        now += passed
        keys = keys.rotated(number.to_bytes(32, "big"), now, now + kept)
        assert all(key.until is not None and key.until > now for key in keys.former)
        assert len(keys.former) <= MOST_FORMER and keys.current.until is None
