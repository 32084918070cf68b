"""Who may do what: the table, and that the rules ask nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.rights import RIGHTS, Action, Asker, Role, may, roles
from backchannel.domain.sidebar import Ask, Sidebar, decide
from backchannel.errors import BackchannelError, Forbidden
from backchannel.protocol.identifier import OPERATOR, PLATFORM
from backchannel.protocol.sidebar_status import SidebarStatus
from tests.build import message
from tests.domain.paper import Paper

ASKED: dict[Action, tuple[str, dict[str, Any]]] = {
    Action.SPAWN: ("sidebar_spawn", {}),
    Action.INVITE: ("sidebar_invite", {"agents": ["zoe"]}),
    Action.JOIN: ("sidebar_join", {}),
    Action.LEAVE: ("sidebar_leave", {}),
    Action.PAUSE: ("sidebar_pause", {}),
    Action.RESUME: ("sidebar_resume", {}),
    Action.MOVE: ("sidebar_status_update", {"new_status": "reviewing"}),
    Action.WAIT: ("sidebar_waiting_update", {}),
    Action.TEST: ("sidebar_test_result", {}),
    Action.MERGE: ("sidebar_merge", {}),
    Action.ARCHIVE: ("sidebar_archive", {}),
    Action.FAIL: ("sidebar_status_update", {"new_status": "failed"}),
    Action.FORK: ("sidebar_fork", {}),
    Action.AWAIT: ("sidebar_waiting_update", {"sidebar_id": "own", "waiting_for": "other_sidebar"}),
}
"""What is asked for to take an action. To look, to read and to speak is no command."""

NAMED = {Action.SPAWN: "parent_id", Action.FORK: "original_sidebar_id", Action.AWAIT: "dependency_refs"}


def family() -> Paper:
    """`room` under `above`, with ada and bob in it; fay has left it, cora coordinates it from outside."""
    paper = Paper()
    paper.spawn("pat", "ada", sidebar_id="above")
    paper.spawn("ada", "bob", "fay", sidebar_id="room", parent_id="above", coordinator="cora")
    for gone in ("fay", "cora"):
        paper.ask(gone, message("sidebar_leave", sidebar_id="room"))
    paper.ask("ada", message("sidebar_leave", sidebar_id="above"))
    return paper


def standing_as(role: Role) -> tuple[Asker, dict[str, Sidebar | None]]:
    """Somebody who stands to `room` in this way, and the sidebars as they are then."""
    paper = family()
    if role is Role.HEIR:
        for agent in ("ada", "bob"):
            paper.ask(agent, message("sidebar_leave", sidebar_id="room"))
    known = {name: paper.sidebar(name) for name in paper.ids()}
    match role:
        case Role.PARTICIPANT:
            return Asker("bob"), known
        case Role.COORDINATOR:
            return Asker("cora"), known
        case Role.FORMER:
            return Asker("fay"), known
        case Role.PARENT | Role.HEIR:
            return Asker("pat"), known
        case Role.SUPERVISOR:
            return Asker("hugo", "human", charges=frozenset({"bob"})), known
        case Role.ACCESS:
            return Asker("otto", access=frozenset({"room"})), known
        case Role.OPERATOR:
            return Asker(OPERATOR, "operator"), known
        case Role.PLATFORM:
            return Asker(PLATFORM, "service"), known


def asking(asker: Asker, known: dict[str, Sidebar | None], action: Action) -> Ask:
    kind, fields = ASKED[action]
    room = known["room"]
    assert room is not None
    if action is Action.AWAIT:
        own = replace(room, sidebar_id="own", parent_id="main", members=(asker.name,), coordinator=None)
        known = known | {"own": own}
    name = NAMED.get(action, "sidebar_id")
    command = message(kind, **{name: ["room"] if action is Action.AWAIT else "room"}, **fields)
    if action is Action.RESUME:
        known = known | {"room": replace(room, status=SidebarStatus.PAUSED)}
    return Ask(
        asker.name,
        command,  # type: ignore[arg-type]
        datetime(2026, 1, 31, 13, tzinfo=UTC),
        known,
        "00000000.0",
        "00000000.9",
        asker.access,
        asker.kind,
        asker.charges,
    )


@pytest.mark.parametrize("role", Role)
def test_each_role_is_recognised_and_allows_what_its_row_says(role: Role) -> None:
    asker, known = standing_as(role)
    room, above = known["room"], known["above"]
    assert room is not None
    held = roles(asker, room, above)
    assert role in held
    for action in Action:
        assert may(action, asker, room, above) == any(action in RIGHTS[one] for one in held)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", ASKED)
def test_a_command_is_decided_if_the_table_allows_it_and_forbidden_otherwise(
    role: Role, action: Action
) -> None:
    asker, known = standing_as(role)
    room, above = known["room"], known["above"]
    assert room is not None
    ask = asking(asker, known, action)
    if may(action, asker, room, above):
        assert decide(ask).result["sidebar_id"]
    else:
        with pytest.raises(Forbidden):
            decide(ask)


@pytest.mark.parametrize("action", ASKED)
def test_a_stranger_may_do_nothing(action: Action) -> None:
    _, known = standing_as(Role.PARTICIPANT)
    with pytest.raises(Forbidden, match="no sidebar room that eve takes part in"):
        decide(asking(Asker("eve"), known, action))


@pytest.mark.parametrize("kind", ["agent", "human", "service"])
def test_bearing_the_operators_name_is_not_enough(kind: str) -> None:
    _, known = standing_as(Role.PARTICIPANT)
    with pytest.raises(Forbidden):
        decide(asking(Asker(OPERATOR, kind), known, Action.ARCHIVE))


def test_everything_that_can_be_done_can_be_done_by_a_participant_since_coordinators_vanish_too() -> None:
    assert RIGHTS[Role.PARTICIPANT] == frozenset(Action)
    assert set(RIGHTS) == set(Role)


def test_whoever_may_do_anything_may_look() -> None:
    assert all(Action.LOOK in RIGHTS[role] for role in Role)


def test_only_who_may_read_or_join_may_fork_since_a_fork_has_the_whole_context() -> None:
    assert all(RIGHTS[role] & {Action.READ, Action.JOIN} for role in Role if Action.FORK in RIGHTS[role])


@given(
    name=st.sampled_from(["ada", "bob", "cora", "fay", "pat", "hugo", "eve", OPERATOR, PLATFORM]),
    kind=st.sampled_from(["agent", "human", "service", "operator"]),
    access=st.frozensets(st.sampled_from(["room", "above", "other"])),
    charges=st.frozensets(st.sampled_from(["ada", "bob", "eve"])),
    action=st.sampled_from(sorted(ASKED)),
)
def test_the_rules_forbid_exactly_what_the_table_does_not_allow(
    name: str, kind: str, access: frozenset[str], charges: frozenset[str], action: Action
) -> None:
    known = {each: FAMILY.sidebar(each) for each in FAMILY.ids()}
    asker = Asker(name, kind, access, charges)
    room = known["room"]
    assert room is not None
    try:
        decide(asking(asker, known, action))
        forbidden = False
    except Forbidden:
        forbidden = True
    except BackchannelError:
        forbidden = False
    assert forbidden != may(action, asker, room, known["above"])


FAMILY = family()
