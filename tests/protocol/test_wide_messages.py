"""What a message of very many small faults costs: no more than reading it."""

from __future__ import annotations

import contextlib
import gc
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, ValidationError

from backchannel.errors import BackchannelError, BadFrame, BadMessage
from backchannel.protocol.catalog import FROM_CLIENTS, KINDS, MOST_FAULTS, bad_message, read
from backchannel.protocol.frame import Ack, Hello
from backchannel.protocol.json_object import read_object

MANY = 8_000
BASE: dict[str, Any] = {"timestamp": "2026-01-31T12:00:00Z"}
WIDE: dict[str, Any] = {
    "nulls": [None] * MANY,
    "numbers": [1] * MANY,
    "objects": [{}] * MANY,
    "lists": [[]] * MANY,
    "names": {str(number): 0 for number in range(MANY)},
    "names of nulls": {str(number): None for number in range(MANY)},
    "names of objects": {str(number): {} for number in range(MANY)},
}
MODELS: list[type[BaseModel]] = [*(KINDS[name] for name in sorted(FROM_CLIENTS)), Hello, Ack]


def faults_of(model: type[BaseModel], content: dict[str, Any]) -> int:
    try:
        model.model_validate(content)
    except ValidationError as error:
        return error.error_count()
    return 0


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_field_of_any_message_makes_a_fault_of_each_of_very_many_parts(model: type[BaseModel]) -> None:
    example = BASE | {"message_id": str(uuid4())} | getattr(model, "example", {})
    for name in model.model_fields:
        for wide in WIDE.values():
            content = example | {"type": model.model_fields["type"].default, name: wide}
            assert faults_of(model, content) < 1_100, name
            try:
                read(model, dict(content))
            except BackchannelError as error:
                assert len(error.message) < 1_000


def test_more_faults_than_anybody_reads_are_counted_and_not_listed() -> None:
    class Loose(BaseModel):
        parts: list[int]

    with pytest.raises(ValidationError) as found:
        Loose.model_validate({"parts": ["x"] * (MOST_FAULTS + 1)})
    told = bad_message(found.value)
    assert isinstance(told, BadMessage)
    assert told.message == f"The message has {MOST_FAULTS + 1} faults; send one that has fewer."


def test_the_first_fault_of_a_long_list_is_named_as_before() -> None:
    content = BASE | {
        "message_id": str(uuid4()),
        "type": "handled",
        "handles": "m",
        "status": "done",
        "taken_for": ["a", 1, 2],
    }
    with pytest.raises(BadMessage) as found:
        read(KINDS["handled"], content)
    assert found.value.field == "taken_for.1"


@pytest.mark.parametrize("raw", [b'{"a":[' + b"[]," * 50_000 + b"[]]}", b'{"a":[' + b"[]," * 50_000])
def test_reading_a_large_object_leaves_the_collector_as_it_was(raw: bytes) -> None:
    for collects in (False, True):
        (gc.enable if collects else gc.disable)()
        try:
            with contextlib.suppress(BadFrame):
                read_object(raw)
            assert gc.isenabled() is collects
        finally:
            gc.enable()
