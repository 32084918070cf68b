"""A record of the trail cannot be changed unseen, and holds no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.audit import GENESIS, Damaged, chained, read_link
from backchannel.domain.audit.redaction import LARGEST, LONGEST, Policy, is_secret
from backchannel.domain.canonical import canonical, digest

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=50)
    | st.just(10**4000),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=10,
)
FIELDS = {
    "group": "main",
    "at": "2026-01-01T00:00:00.000Z",
    "id": "one",
    "category": "tool",
    "entity": "alice",
    "action": "execute",
    "phase": "intent",
    "of": "request",
    "source": "test",
}


@given(values)
def test_what_is_written_canonically_reads_the_same_and_is_written_the_same_again(value: Any) -> None:
    written = canonical(value)
    assert json.loads(written) == value
    assert canonical(json.loads(written)) == written


@given(st.dictionaries(texts, values, min_size=2, max_size=5))
def test_the_order_of_keys_makes_no_difference(fields: dict[str, Any]) -> None:
    assert digest(fields) == digest(dict(reversed(fields.items())))


@given(st.dictionaries(texts, values, max_size=5), st.integers(1, 10**9))
def test_a_record_reads_as_it_was_written(facts: dict[str, Any], position: int) -> None:
    link = chained({**FIELDS, "facts": facts}, position, GENESIS)
    assert read_link(link.body) == link
    assert link.subject == "bc.main.audit.tool.alice"


@given(st.dictionaries(texts, values, max_size=3), st.data())
def test_no_changed_byte_of_a_record_goes_unseen(facts: dict[str, Any], data: st.DataObject) -> None:
    body = bytearray(chained({**FIELDS, "facts": facts}, 7, GENESIS).body)
    where = data.draw(st.integers(0, len(body) - 1))
    body[where] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        read_link(bytes(body))


@given(st.dictionaries(texts, values, max_size=3), st.data())
def test_no_cut_and_no_addition_goes_unseen(facts: dict[str, Any], data: st.DataObject) -> None:
    body = chained({**FIELDS, "facts": facts}, 7, GENESIS).body
    cut = data.draw(st.integers(0, len(body) - 1))
    for changed in (body[:cut], body[cut + 1 :], body + b" ", b" " + body):
        with pytest.raises(Damaged):
            read_link(changed)


@given(st.dictionaries(st.text() | st.integers(), anything, max_size=6))
def test_whatever_the_facts_are_they_can_be_written_and_are_bounded(facts: dict[Any, Any]) -> None:
    assert len(canonical(Policy(b"pepper").applied(facts))) <= 2 * LARGEST


@pytest.mark.parametrize(
    "name",
    ["token", "apiKey", "API_KEY", "X-Memory-Auth", "Authorization", "db_password", "clientSecret"],
)
def test_a_secret_becomes_a_digest_that_tells_nothing(name: str) -> None:
    secret = "correct horse battery staple"
    facts = {"params": [{name: secret}], name: {"inner": secret}}
    kept, other = Policy(b"one").applied(facts), Policy(b"two").applied(facts)
    assert secret not in json.dumps(kept)
    assert kept == Policy(b"one").applied(facts)
    assert kept != other, "who does not know the key could find a short secret by trying"


@pytest.mark.parametrize("name", ["token_id", "key_type", "monkey", "author", "keyboard", "path"])
def test_what_only_sounds_like_a_secret_is_kept(name: str) -> None:
    assert not is_secret(name)
    assert Policy().applied({name: "said"}) == {name: "said"}


@pytest.mark.parametrize(
    "text",
    [
        "see eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjoxfQ.c2lnbmF0dXJl there",
        "Authorization: Bearer abcdefghijklmnop",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----",
    ],
)
def test_a_token_inside_a_text_is_found_by_its_look(text: str) -> None:
    kept = json.dumps(Policy(b"pepper").applied({"content": text, text: 1}))
    for secret in ("eyJzdWIi", "abcdefghijkl", "MC4CAQAw"):
        assert secret not in kept


def test_a_long_text_becomes_its_digest_and_size() -> None:
    kept = Policy().applied({"content": "x" * (LONGEST + 1), "short": "y"})
    assert kept["content"]["bytes"] == LONGEST + 1
    assert len(kept["content"]["sha256"]) == 64
    assert kept["short"] == "y"


def test_a_number_too_long_to_be_written_is_named_as_such() -> None:
    assert Policy().applied({"number": 10**6000}) == {"number": "a int that cannot be written"}
