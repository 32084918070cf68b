"""Subjects: put together and taken apart again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.protocol.identifier import is_identifier
from backchannel.protocol.lane import LANES, RESERVED, Lane, lane_of
from backchannel.protocol.subject import (
    Destination,
    InContext,
    InInbox,
    ToEveryone,
    asked,
    command_subject,
    locate,
)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
lanes = st.sampled_from(LANES)
destinations: st.SearchStrategy[Destination] = (
    st.builds(InContext, names, st.sampled_from(["life", "talk", "memory"]))
    | st.builds(InInbox, names, st.sampled_from(["mention", "result", "decision", "notice"]))
    | st.builds(ToEveryone, st.sampled_from(["broadcast", "presence"]))
)


@given(names, lanes, destinations)
def test_an_event_subject_says_where_it_lies(group: str, lane: Lane, to: Destination) -> None:
    located = locate(to.subject(group, lane))
    assert located is not None
    assert (located.group, located.lane, located.to) == (group, lane, to)


@given(names, lanes, names, names)
def test_a_command_subject_says_who_asks_what(group: str, lane: Lane, agent: str, kind: str) -> None:
    found = asked(command_subject(group, lane, agent, kind))
    assert found is not None
    assert (found.group, found.lane, found.agent, found.type) == (group, lane, agent, kind)


@given(st.text(max_size=80))
def test_no_other_subject_is_taken_for_an_event(subject: str) -> None:
    located = locate(subject)
    assert located is None or located.to.subject(located.group, located.lane) == subject


@given(st.text(max_size=70))
def test_an_identifier_is_one_subject_token(text: str) -> None:
    if is_identifier(text):
        assert not set(text) & set(".*> \t\r\n")
        assert 1 <= len(text) <= 64


def test_only_an_emergency_gets_an_emergency_lane() -> None:
    for priority in (*LANES, "urgent", None, "nonsense"):
        assert lane_of("memory_update", priority) not in RESERVED
    assert lane_of("security_emergency", "low") is Lane.SECURITY_EMERGENCY
    assert lane_of("critical_failure", None) is Lane.CRITICAL_FAILURE
