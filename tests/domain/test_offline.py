"""Offline: who is told, and that nothing is told twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.offline import collaborators, is_news, look
from backchannel.domain.sidebar import Sidebar
from backchannel.protocol.sidebar_status import SidebarPriority, SidebarStatus

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECONDS = st.integers(0, 600).map(lambda seconds: NOON + timedelta(seconds=seconds))


def sidebar(name: str, *members: str, status: SidebarStatus = SidebarStatus.ACTIVE) -> Sidebar:
    return Sidebar(
        name, "main", status, SidebarPriority.NORMAL, "work", "ada", NOON.isoformat(), 1, members=members
    )


def test_collaborators_are_named_once_and_only_from_open_sidebars() -> None:
    found = collaborators(
        "bob",
        [
            sidebar("a", "ada", "bob"),
            sidebar("b", "bob", "cid", "ada"),
            sidebar("c", "bob", "eve", status=SidebarStatus.MERGED),
            sidebar("d", "ada", "fay"),
        ],
    )
    assert found == ["ada", "cid"]


@given(st.lists(SECONDS, min_size=1, max_size=20))
def test_looks_at_one_departure_tell_it_once_however_late_they_come(leases: list[datetime]) -> None:
    """Several leases of one agent lapse; each is looked into after all of them have gone."""
    told: datetime | None = None
    tellings = 0
    for number, gone in enumerate(leases):
        now = max(leases) + timedelta(seconds=number)
        if is_news(gone, told):
            told, tellings = now, tellings + 1
    assert tellings == 1


def test_a_look_says_as_of_when_it_is() -> None:
    timer = look("bob", NOON, NOON + timedelta(seconds=5))
    assert datetime.fromisoformat(str(timer.about["as_of"])) == NOON
    assert (timer.key, timer.at) == ("bob", NOON + timedelta(seconds=5))
