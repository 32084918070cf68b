"""Rights in sidebars: every cell of the table through a running platform, allowed and refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from backchannel.domain.rights import RIGHTS, Action, Role
from backchannel.errors import BackchannelError
from backchannel.logger import Logger
from backchannel.protocol.catalog import KINDS
from backchannel.protocol.identifier import OPERATOR
from cli.command import command, post
from cli.door import Where, door
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

FROM_OUTSIDE = [role for role in Role if role is not Role.PLATFORM]
"""Nobody can be the platform; what it does by itself is promised elsewhere."""

BEARERS = {
    Role.PARTICIPANT: "bob",
    Role.COORDINATOR: "cora",
    Role.FORMER: "fay",
    Role.PARENT: "pat",
    Role.HEIR: "pat",
    Role.SUPERVISOR: "hugo",
    Role.ACCESS: "otto",
}
ROOMS = [f"room{number}" for number in range(200)]

COMMANDS: dict[Action, tuple[str, dict[str, Any]]] = {
    Action.SPAWN: ("sidebar_spawn", {"task_description": "a part"}),
    Action.INVITE: ("sidebar_invite", {"agents": ["eve"]}),
    Action.JOIN: ("sidebar_join", {}),
    Action.LEAVE: ("sidebar_leave", {}),
    Action.PAUSE: ("sidebar_pause", {"reason": "night"}),
    Action.RESUME: ("sidebar_resume", {"reason": "morning"}),
    Action.MOVE: ("sidebar_status_update", {"new_status": "reviewing"}),
    Action.WAIT: ("sidebar_waiting_update", {"waiting_for": "human_input", "description": "may we?"}),
    Action.TEST: ("sidebar_test_result", {"test_description": "t", "result": "passed", "findings": "f"}),
    Action.MERGE: ("sidebar_merge", {"consolidated_findings": "found", "success": True}),
    Action.ARCHIVE: ("sidebar_archive", {"archive_reason": "done"}),
    Action.FAIL: ("sidebar_status_update", {"new_status": "failed", "reason": "no"}),
    Action.FORK: ("sidebar_fork", {"fork_reason": "again"}),
    Action.AWAIT: ("sidebar_waiting_update", {"waiting_for": "other_sidebar", "description": "till then"}),
}
QUERIES = {Action.LOOK: ("sidebar", "sidebar_id"), Action.READ: ("context", "context_id")}


@dataclass(frozen=True)
class House:
    """A platform, and everybody who plays a part."""

    platform: Platform
    agents: dict[str, Raw]

    @property
    def where(self) -> Where:
        return Where(data=str(self.platform.data), url=None, token_file=None, group=None, timeout=30)

    async def done(self, agent: str, kind: str, **fields: Any) -> None:
        result = await self.agents[agent].result(kind, **fields)
        assert result["status"] == "success", result

    async def room(self, sidebar_id: str, role: Role | None, action: Action) -> str:
        """A sidebar in which the bearer of a role stands as that; paused if it is to be resumed."""
        above = f"above-{sidebar_id}"
        spawn = {"task_description": "look", "parent_id": "main"}
        await self.done("pat", "sidebar_spawn", sidebar_id=above, participants=["ada"], **spawn)
        spawn = spawn | {"parent_id": above, "coordinator": "cora"}
        await self.done("ada", "sidebar_spawn", sidebar_id=sidebar_id, participants=["bob", "fay"], **spawn)
        if action is Action.RESUME:
            await self.done("ada", "sidebar_pause", sidebar_id=sidebar_id, reason="night")
        leaving = ["fay", "cora", *(["ada", "bob"] if role is Role.HEIR else [])]
        for agent in leaving:
            await self.done(agent, "sidebar_leave", sidebar_id=sidebar_id)
        return sidebar_id

    async def tried(self, role: Role | None, action: Action, sidebar_id: str) -> str:
        """What came of an action: `done`, or the code of the refusal."""
        if role is Role.OPERATOR:
            return await self._by_operator(action, sidebar_id)
        raw = self.agents[BEARERS[role] if role else "eve"]
        if action is Action.SPEAK:
            answer = await raw.ask("sidebar_message", sidebar_id=sidebar_id, content="hello")
            return "done" if answer["type"] == "accepted" else str(answer["code"])
        if action in QUERIES:
            query, name = QUERIES[action]
            return outcome(await raw.result("query", query=query, params={name: sidebar_id}))
        kind, fields = COMMANDS[action]
        if action is Action.AWAIT:
            own = await raw.result("sidebar_spawn", parent_id="main", task_description="own")
            fields = fields | {"sidebar_id": own["sidebar_id"], "dependency_refs": [sidebar_id]}
            return outcome(await raw.result(kind, **fields))
        return outcome(await raw.result(kind, **fields, **{_named(action): sidebar_id}))

    async def _by_operator(self, action: Action, sidebar_id: str) -> str:
        try:
            if action is Action.SPEAK:
                await post(self.where, sidebar_id, "hello")
            elif action in QUERIES:
                query, name = QUERIES[action]
                async with door(self.where) as at:
                    await at.ask(query, **{name: sidebar_id})
            elif action is Action.AWAIT:
                own = await command(
                    self.where, KINDS["sidebar_spawn"], parent_id="main", task_description="own"
                )
                kind, fields = COMMANDS[action]
                fields = fields | {"sidebar_id": own["sidebar_id"], "dependency_refs": [sidebar_id]}
                await command(self.where, KINDS[kind], **fields)
            else:
                kind, fields = COMMANDS[action]
                await command(self.where, KINDS[kind], **fields, **{_named(action): sidebar_id})
        except BackchannelError as refusal:
            return refusal.code
        return "done"


def _named(action: Action) -> str:
    return {Action.SPAWN: "parent_id", Action.FORK: "original_sidebar_id"}.get(action, "sidebar_id")


def outcome(result: Frame) -> str:
    return "done" if result["status"] == "success" else str(result["code"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(serving: Platform) -> AsyncIterator[House]:
    claims: dict[str, dict[str, Any]] = {
        "bob": {"human_supervisor": "hugo"},
        "hugo": {"entity_type": "human"},
        "otto": {"sidebar_access": ROOMS},
    }
    names = ("ada", "bob", "cora", "fay", "pat", "hugo", "otto", "eve")
    agents = {name: await serving.enter(serving.signed(name, **claims.get(name, {}))) for name in names}
    yield House(serving, agents)
    Logger.silent = False
    await serving.part()


@pytest.fixture(scope="module")
def rooms() -> Iterator[str]:
    return iter(ROOMS)


@pytest.mark.parametrize("action", Action, ids=lambda action: action.name.lower())
@pytest.mark.parametrize("role", FROM_OUTSIDE, ids=lambda role: role.name.lower())
async def test_a_role_may_do_what_the_table_says_and_nothing_else(
    house: House, rooms: Iterator[str], role: Role, action: Action
) -> None:
    held = {Role.PARENT, role} if role is Role.HEIR else {role}
    if role is Role.COORDINATOR:
        held.add(Role.FORMER)  # who coordinates was brought in once
    room = await house.room(next(rooms), role, action)
    allowed = any(action in RIGHTS[one] for one in held)
    assert await house.tried(role, action, room) == ("done" if allowed else "forbidden")


@pytest.mark.parametrize("action", Action, ids=lambda action: action.name.lower())
async def test_a_stranger_may_do_nothing_and_changes_nothing(
    house: House, rooms: Iterator[str], action: Action
) -> None:
    room = await house.room(next(rooms), None, action)
    before = await house.agents["ada"].result("query", query="sidebar", params={"sidebar_id": room})
    assert await house.tried(None, action, room) == "forbidden"
    after = await house.agents["ada"].result("query", query="sidebar", params={"sidebar_id": room})
    assert after["sidebar"] == before["sidebar"]


async def test_who_may_only_look_is_shown_an_outline_without_what_was_found(
    house: House, rooms: Iterator[str]
) -> None:
    room = await house.room(next(rooms), Role.PARENT, Action.LOOK)
    await house.done(
        "ada",
        "sidebar_test_result",
        sidebar_id=room,
        test_description="t",
        result="passed",
        findings="secret",
    )
    shown = await house.agents["pat"].result("query", query="sidebar", params={"sidebar_id": room})
    assert shown["sidebar"]["status"] == "active" and "tests" not in shown["sidebar"]
    for query in ("context", "history"):
        name = "context_id" if query == "context" else "sidebar_id"
        answer = await house.agents["pat"].result("query", query=query, params={name: room})
        assert answer["code"] == "forbidden"
    assert not [frame for frame in house.agents["pat"].frames if "secret" in str(frame)]


@pytest.mark.parametrize(
    "role", [None, *FROM_OUTSIDE], ids=lambda role: role.name.lower() if role else "none"
)
async def test_a_list_has_what_one_may_look_at(house: House, rooms: Iterator[str], role: Role | None) -> None:
    room = await house.room(next(rooms), role, Action.LOOK)
    if role is Role.OPERATOR:
        found = await house.platform.json("sidebars", "ls")
    else:
        raw = house.agents[BEARERS[role] if role else "eve"]
        found = (await raw.result("query", query="sidebars", params={"limit": 10_000}))["sidebars"]
    assert (room in [row["sidebar_id"] for row in found]) == (role is not None)


async def test_a_supervisor_has_rights_only_as_a_human_and_while_its_agent_is_in(
    house: House, rooms: Iterator[str]
) -> None:
    room = await house.room(next(rooms), Role.SUPERVISOR, Action.READ)
    assert await house.tried(Role.SUPERVISOR, Action.READ, room) == "done"
    await house.done("bob", "sidebar_leave", sidebar_id=room)
    assert await house.tried(Role.SUPERVISOR, Action.READ, room) == "forbidden"
    await house.done("bob", "sidebar_join", sidebar_id=room)
    machine = await house.platform.enter(
        house.platform.signed("hugo", entity_type="service"), permission="observer", purpose="observer"
    )
    answer = await machine.result("query", query="context", params={"context_id": room})
    assert answer["code"] == "forbidden"


@pytest.mark.parametrize("name", [OPERATOR, "backchannel", "Operator"])
async def test_no_token_bears_a_name_of_the_platforms_own(house: House, name: str) -> None:
    code, _, err = await house.platform.run("token", "create", name)
    assert code == 4 and name in err
    with pytest.raises(Exception, match="401"):
        await house.platform.connect(house.platform.signed(name))
