"""The clean-up of idle sidebars: what is done when, and what begins its time anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.idle import Activity, Archive, Look, Pause, Rest, Step, Warn, next_step
from backchannel.domain.settings import Cleanup
from backchannel.domain.sidebar import TERMINAL, Sidebar
from backchannel.domain.sidebar.state import Waiting, Warned
from backchannel.protocol.message import rfc3339
from backchannel.protocol.sidebar_status import SidebarPriority, SidebarStatus

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
POLICY = Cleanup(warn_after=100.0, pause_after=10.0, archive_after=50.0)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def sidebar(status: SidebarStatus = SidebarStatus.ACTIVE, **fields: object) -> Sidebar:
    known = Sidebar("sb", "main", status, SidebarPriority.NORMAL, "task", "ada", rfc3339(NOON), 1, acted=1)
    return replace(known, **fields)  # type: ignore[arg-type]


def step(found: Sidebar | None, at: float, acted: tuple[int, float] = (1, 0)) -> Step:
    return next_step(found, Activity(acted[0], after(acted[1])), POLICY, after(at))


def warned(status: SidebarStatus, at: float, sequence: int = 5) -> Warned:
    return Warned(status, rfc3339(after(at)), sequence)


def test_nothing_happens_before_the_silence_has_lasted() -> None:
    assert step(sidebar(), 99.9) == Look(after(100))
    assert step(sidebar(), 120, acted=(7, 60)) == Look(after(160))


def test_silence_is_followed_by_a_warning_a_pause_and_the_archive() -> None:
    assert step(sidebar(), 100) == Warn(SidebarStatus.PAUSED, after(110))
    told = sidebar(warned=warned(SidebarStatus.PAUSED, 110))
    assert step(told, 109) == Look(after(110))
    assert step(told, 110) == Pause(after(160))
    paused = sidebar(SidebarStatus.PAUSED, warned=warned(SidebarStatus.ARCHIVED, 160, 7))
    assert step(paused, 159) == Look(after(160))
    assert step(paused, 160) == Archive()


@pytest.mark.parametrize("status", [SidebarStatus.ACTIVE, SidebarStatus.PAUSED])
def test_activity_after_a_warning_voids_it(status: SidebarStatus) -> None:
    told = sidebar(status, warned=warned(SidebarStatus.ARCHIVED, 110))
    assert step(told, 200, acted=(6, 105)) == Look(after(205))


def test_what_is_paused_already_is_warned_before_it_is_archived() -> None:
    assert step(sidebar(SidebarStatus.PAUSED), 100) == Warn(SidebarStatus.ARCHIVED, after(150))


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_what_has_ended_rests(status: SidebarStatus) -> None:
    assert step(sidebar(status), 1000) == Rest()
    assert step(None, 1000) == Rest()


def test_a_parent_is_left_alone_while_a_child_is_open() -> None:
    assert step(sidebar(children=(("child", True),)), 1000) == Look(after(1100))
    assert isinstance(step(sidebar(children=(("child", False),)), 1000), Warn)


def test_whoever_waits_has_the_time_it_thought_it_would_take() -> None:
    waiting = Waiting("human_input", "may we?", until=rfc3339(after(500)))
    assert step(sidebar(SidebarStatus.WAITING, waiting=waiting), 400) == Look(after(600))


def test_where_it_is_switched_off_nothing_happens_until_it_is_switched_on() -> None:
    off = POLICY.model_copy(update={"enabled": False})
    assert next_step(sidebar(), Activity(1, NOON), off, after(1000)) == Look(after(1100))


@given(
    st.sampled_from(SidebarStatus),
    st.one_of(st.none(), st.tuples(st.sampled_from(SidebarStatus), st.integers(0, 300), st.integers(1, 9))),
    st.integers(1, 9),
    st.integers(0, 400),
    st.integers(0, 400),
)
def test_nothing_is_done_without_a_warning_whose_time_has_passed_in_silence(
    status: SidebarStatus,
    told: tuple[SidebarStatus, int, int] | None,
    acted: int,
    moment: int,
    now: int,
) -> None:
    found = sidebar(status, warned=warned(*told) if told else None)
    match step(found, now, (acted, moment)):
        case Pause() | Archive():
            assert told is not None and now >= told[1] and acted < told[2]
        case Look(at=at) | Warn(at=at):
            assert at > after(now)
        case Rest():
            assert not found.open
