"""Every message type: in the union, documented, with an example that survives the way to the log and back."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from uuid import uuid4

import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.errors import BackchannelError, BadFrame, BadMessage, UnknownType
from backchannel.protocol.catalog import FROM_CLIENTS, KINDS, read_message, schema, write
from backchannel.protocol.json_object import read_object
from backchannel.protocol.message import Way

SEED_TYPES = {
    "memory_update",
    "sidebar_spawn",
    "sidebar_status_update",
    "sidebar_pause",
    "sidebar_resume",
    "sidebar_fork",
    "sidebar_child_spawn",
    "sidebar_merge",
    "sidebar_archive",
    "mention_route",
    "agent_presence",
    "sidebar_test_result",
    "sidebar_waiting_update",
    "system_shutdown",
    "emergency_shutdown_warning",
    "maintenance_shutdown",
    "security_emergency_broadcast",
    "critical_failure_broadcast",
    "curator_checkin",
}


def example(kind: str, **more: Any) -> dict[str, Any]:
    whole = {"type": kind, "message_id": str(uuid4()), "timestamp": "2026-01-31T12:00:00.000Z"}
    return whole | KINDS[kind].example | more


def test_a_fault_names_the_field_as_its_sender_knows_it() -> None:
    long = example("memory_update", exchange={"content": "x" * 1_000_001})
    with pytest.raises(BadMessage) as refused:
        read_message(long)
    assert refused.value.field == "exchange.content"


def test_every_type_the_seed_names_is_in_the_union() -> None:
    assert set(KINDS) >= SEED_TYPES


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_type_is_documented_and_its_example_survives_the_log(kind: str) -> None:
    assert KINDS[kind].__doc__
    message = read_message(example(kind, something_new=["kept"]))
    again = read_message(read_object(write(message)))
    assert again == message
    assert read_object(write(message))["something_new"] == ["kept"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_message_without_its_id_or_time_is_refused_by_that_field(kind: str) -> None:
    for field in ("message_id", "timestamp"):
        content = example(kind)
        del content[field]
        with pytest.raises(BadMessage) as refusal:
            read_message(content)
        assert refusal.value.field == field


@pytest.mark.parametrize("kind", sorted(FROM_CLIENTS))
def test_a_required_field_of_the_wrong_type_is_named(kind: str) -> None:
    required = [
        name
        for name, told in KINDS[kind].model_fields.items()
        if told.is_required() and name not in ("type", "message_id", "timestamp")
    ]
    for field in required:
        with pytest.raises(BadMessage) as refusal:
            read_message(example(kind, **{field: 3.5}))
        assert (refusal.value.field or "").split(".")[0] == field


def test_what_only_the_platform_says_is_not_taken_from_clients() -> None:
    assert "result" not in FROM_CLIENTS
    assert {kind for kind in KINDS if KINDS[kind].way is Way.PLATFORM}.isdisjoint(FROM_CLIENTS)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"text"',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\ud800"}',
        b"[" * 5000,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b'{"a":1}{"b":2}',
    ],
)
def test_what_is_not_one_json_object_is_a_bad_frame(raw: bytes) -> None:
    with pytest.raises(BadFrame):
        read_object(raw)


@pytest.mark.parametrize("kind", [None, 5, ["memory_update"], "", "hello", "no_such_type"])
def test_an_unknown_type_is_named_as_such(kind: Any) -> None:
    with pytest.raises(UnknownType):
        read_message({"type": kind})


@pytest.mark.parametrize("name", ["a.b", "*", ">", "a b", "", "-a", "x" * 65, "a/b", "é", "a\n"])
def test_a_name_that_is_not_one_subject_token_is_refused(name: str) -> None:
    with pytest.raises(BadMessage):
        read_message(example("memory_update", context_id=name))


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_at_all_can_do_worse_than_a_typed_error(raw: bytes) -> None:
    try:
        read_message(read_object(raw))
    except BackchannelError as error:
        assert error.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.sampled_from(sorted(FROM_CLIENTS)),
    st.dictionaries(st.text(min_size=1), json_values, max_size=5),
    st.data(),
)
def test_no_field_of_any_kind_can_do_worse_than_a_typed_error(
    kind: str, more: dict[str, Any], data: st.DataObject
) -> None:
    field = data.draw(st.sampled_from(sorted(KINDS[kind].model_fields)))
    content = example(kind) | more | {field: data.draw(json_values)}
    try:
        message = read_message(content)
    except BackchannelError as error:
        assert error.message
    else:
        assert read_message(pydantic_core.from_json(write(message))) == message


def test_the_published_reference_is_what_the_code_says() -> None:
    path = Path(__file__).parents[2] / "docs" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec and spec.loader
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    assert reference.stale() == []


def test_the_schema_names_every_message_and_frame() -> None:
    told = str(schema())
    assert all(f"'{kind}'" in told for kind in KINDS)
    assert all(frame in told for frame in ("welcome", "catch_up", "hello", "accepted", "gap", "goodbye"))
