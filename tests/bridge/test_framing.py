"""Frames made by hand are the frames that a WebSocket library reads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import TEXT, Frame
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from bridge.framing import frame

EDGES = [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 1_048_576]


def read_by_a_client(stream: bytes) -> list[Frame]:
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN, max_size=None)
    client.receive_data(stream)
    events = client.events_received()
    assert client.parser_exc is None
    assert all(isinstance(event, Frame) for event in events)
    return [event for event in events if isinstance(event, Frame)]


@given(st.binary(max_size=70_000))
@settings(deadline=None)
def test_a_client_reads_the_body_that_was_framed(body: bytes) -> None:
    assert read_by_a_client(frame(body)) == [Frame(TEXT, body)]


@pytest.mark.parametrize("size", EDGES)
def test_every_way_to_write_a_length_is_right_at_its_edges(size: int) -> None:
    body = b"x" * size
    assert read_by_a_client(frame(body)) == [Frame(TEXT, body)]
    assert frame(body) == Frame(TEXT, body).serialize(mask=False)


@given(st.lists(st.binary(max_size=300), max_size=20))
@settings(deadline=None)
def test_joined_frames_stay_separate_messages(bodies: list[bytes]) -> None:
    stream = b"".join(map(frame, bodies))
    assert [bytes(one.data) for one in read_by_a_client(stream)] == bodies
