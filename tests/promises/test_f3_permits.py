"""F3: a permit is for what it names, given by who may give it now, and shown in full or said to be cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backchannel.domain.canonical import digest
from backchannel.domain.supervision.callback import Leave
from backchannel.home import Home
from backchannel.service.keeping import grants_of
from tests.eventually import eventually
from tests.promises.http import fetch
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOOLS = {"allowed": ["file_delete", "file_read", "send_mail"]}
SCRATCH = {"seconds": 600, "path_prefix": "/srv/scratch"}


async def agent(platform: Platform, name: str, human: str, **claims: Any) -> Raw:
    held = {"supervision_level": "medium", "tools": TOOLS, "human_supervisor": human}
    return await platform.enter(platform.signed(name, **{**held, **claims}))


async def human(platform: Platform, name: str) -> Raw:
    return await platform.enter(platform.signed(name, entity_type="human"))


async def decided(raw: Raw, tool: str, params: Frame) -> Frame:
    sent = await raw.send("tool_request", tool=tool, params=params)
    return await raw.find(lambda f: f["type"] == "tool_decision" and f["request_id"] == sent["message_id"])


async def asked(raw: Raw, tool: str = "send_mail", params: Frame | None = None) -> str:
    told = await decided(raw, tool, {"to": "boss"} if params is None else params)
    assert told["decision"] == "pending"
    return str(told["request_id"])


async def answer(raw: Raw, request_id: str, **fields: Any) -> Frame:
    return await raw.result(
        "approval_response", **{"request_id": request_id, "approved": True, "reason": "yes", **fields}
    )


async def states(platform: Platform, name: str) -> dict[str, str]:
    listed = await platform.json("approvals", "ls", "--agent", name)
    return {one["request_id"]: one["state"] for one in listed["approvals"]}


def leave(platform: Platform, request_id: str, human: str, iat: int | None = None) -> str:
    key = Ed25519PrivateKey.from_private_bytes(grants_of(Home(platform.data).audit_key()))
    begun = iat if iat is not None else 1_000_000_000
    return Leave("main", human, request_id, begun, 4_000_000_000).written(key)


async def on_leave(platform: Platform, request_id: str, text: str, **fields: Any) -> Any:
    said = {"approved": True, "reason": "by the pager", **fields}
    return await fetch(f"{platform.http}/approvals/{request_id}", said, Authorization=f"Bearer {text}")


async def test_f3_an_allowance_is_not_passed_by(platform: Platform) -> None:
    ada, hugo = await agent(platform, "w5", "hugo"), await human(platform, "hugo")
    await answer(hugo, await asked(ada, "file_delete", {"path": "/srv/scratch/x"}), allow=SCRATCH)
    told = await decided(ada, "file_delete", {"path": "/srv/scratch/y"})
    assert (told["decision"], told["decided_by"]) == ("approved", "hugo")
    below = [f"/srv/scratch/{number}" for number in range(1200)]
    for params in (
        {"targets": ["/etc/passwd", *below], "path": "/srv/scratch/y"},
        {"path": "/srv/scratch/y", "also": "'/etc/passwd'"},
        {"path": "/srv/scratch/y", "url": "FILE:///etc/passwd"},
        {"path": "/srv/scratch/%2e%2e/%2e%2e/etc/passwd"},
        {"path": "/srv/scratch/y", "/etc/passwd": 1},
    ):
        assert (await decided(ada, "file_delete", params))["decision"] == "pending", params


async def test_f3_an_allowance_ends_when_its_human_is_sent_away_or_replaced(platform: Platform) -> None:
    for name, supervisor in (("kicked-from", "kicky"), ("moved-on", "former")):
        ada, boss = await agent(platform, name, supervisor), await human(platform, supervisor)
        await answer(boss, await asked(ada, "file_delete", {"path": "/srv/scratch/x"}), allow=SCRATCH)
        assert (await decided(ada, "file_delete", {"path": "/srv/scratch/y"}))["decision"] == "approved"
        if supervisor == "kicky":
            code, _, err = await platform.run("agents", "kick", "kicky", "--reason", "gone")
            assert code == 0, err
        else:
            await ada.close()
            ada = await agent(platform, name, "other")
        assert (await decided(ada, "file_delete", {"path": "/srv/scratch/z"}))["decision"] == "pending", name


async def test_f3_leave_to_answer_is_for_one_request_and_gives_nothing_else(platform: Platform) -> None:
    ada, _ = await agent(platform, "w6", "hugo"), await human(platform, "hugo")
    one, other = await asked(ada), await asked(ada)
    text = leave(platform, one, "hugo")
    for wider in (
        {"together": True},
        {"together": [other]},
        {"allow": {"seconds": 86_400}},
        {"decisions": [{"request_id": other, "approved": True, "reason": "too"}]},
    ):
        refused = await on_leave(platform, one, text, **wider)
        assert (refused.status, refused.json()["code"]) == (403, "forbidden"), wider
    assert await states(platform, "w6") == {one: "pending", other: "pending"}
    rules = (await platform.json("approvals", "ls"))["allowances"]
    assert "w6" not in {rule["agent"] for rule in rules}
    done = await on_leave(platform, one, text, conditions=["dry_run"])
    assert (done.status, done.json()["decision"]) == (200, "approved")
    assert (await on_leave(platform, one, text)).status == 409
    assert await states(platform, "w6") == {one: "approved", other: "pending"}


async def test_f3_leave_is_used_up_by_putting_off_as_well(platform: Platform) -> None:
    ada = await agent(platform, "once", "hugo")
    one = await asked(ada)
    text = leave(platform, one, "hugo")
    assert (await on_leave(platform, one, text, approved=False, reschedule=3600)).status == 200
    again = await on_leave(platform, one, text)
    assert again.status == 409, again.body
    assert await states(platform, "once") == {one: "rescheduled"}


async def test_f3_nobody_answers_who_was_sent_away_or_is_not_responsible_any_more(platform: Platform) -> None:
    ada, gone = await agent(platform, "left", "goner", human_partner="petra"), await human(platform, "goner")
    one = await asked(ada)
    code, _, err = await platform.run("agents", "kick", "goner", "--reason", "gone")
    assert code == 0, err
    refused = await on_leave(platform, one, leave(platform, one, "goner"))
    assert (refused.status, "sent away" in refused.json()["message"]) == (403, True), refused.body
    petra = await human(platform, "petra")
    await ada.close()
    ada = await agent(platform, "left", "heir")
    told = await answer(petra, one)
    assert (told["code"], "other humans" in told["message"]) == ("forbidden", True)
    assert (await on_leave(platform, one, leave(platform, one, "petra"))).status == 403
    assert (await states(platform, "left"))[one] == "pending"
    await gone.close()


async def test_f3_together_decides_what_was_shown_and_nothing_that_came_later(platform: Platform) -> None:
    ada, hugo = await agent(platform, "w8", "hugo"), await human(platform, "hugo")
    shown = [await asked(ada), await asked(ada)]
    later = [await asked(ada, params={"to": "attacker@evil"}) for _ in range(2)]
    told = await answer(hugo, shown[0], together=True)
    assert (told["code"], told["field"]) == ("bad_message", "together")
    told = await answer(hugo, shown[0], together=shown)
    assert (told["status"], told["together_with"]) == ("success", shown[1:])
    found = await states(platform, "w8")
    assert [found[one] for one in [*shown, *later]] == ["approved"] * 2 + ["pending"] * 2


async def test_f3_several_are_decided_all_of_them_or_none(platform: Platform) -> None:
    ada, hugo = await agent(platform, "whole", "hugo"), await human(platform, "hugo")
    foreign = await asked(await agent(platform, "foreign", "somebody"))
    one, two, past = [await asked(ada) for _ in range(3)]
    await answer(hugo, past, approved=False, reason="no")
    for wrong, code in ((foreign, "not_found"), (past, "conflict"), ("never-asked", "not_found")):
        assert (await answer(hugo, one, together=[one, two, wrong]))["code"] == code
        verdicts = [{"request_id": name, "approved": True, "reason": "y"} for name in (two, wrong)]
        assert (await answer(hugo, two, decisions=verdicts))["code"] == code
    found = await states(platform, "whole")
    assert (found[one], found[two]) == ("pending", "pending")
    twice = [{"request_id": one, "approved": True, "reason": "y"}] * 2
    assert (await answer(hugo, one, decisions=twice))["code"] == "bad_message"


async def test_f3_each_of_several_gets_a_decision_of_its_own(platform: Platform) -> None:
    ada, hugo = await agent(platform, "batch", "hugo"), await human(platform, "hugo")
    one, two = await asked(ada), await asked(ada, params={"to": "all"})
    verdicts = [
        {"request_id": one, "approved": True, "reason": "fine", "conditions": ["dry_run"]},
        {"request_id": two, "approved": False, "reason": "too many"},
    ]
    told = await hugo.result("approval_response", decisions=verdicts)
    assert [(row["request_id"], row["decision"]) for row in told["decided"]] == [
        (one, "approved"),
        (two, "denied"),
    ], told
    yes = await ada.find(lambda f: f["type"] == "tool_decision" and f["request_id"] == one and f["grant"])
    assert (yes["reason"], yes["conditions"]) == ("fine", [{"kind": "dry_run", "value": True}])
    no = await ada.find(
        lambda f: f["type"] == "tool_decision" and f["request_id"] == two and f["decision"] == "denied"
    )
    assert (no["reason"], no["grant"]) == ("too many", None)


async def test_f3_the_command_line_answers_the_requests_it_is_given(platform: Platform) -> None:
    ada = await agent(platform, "listed", "nobody-here")
    ids = [await asked(ada) for _ in range(3)]
    code, _, err = await platform.run("approvals", "approve", ids[0], "--together", "--reason", "yes")
    assert code == 2 and all(one in err for one in ids), "it shows them, and asks somebody who is there"
    code, _, err = await platform.run("approvals", "approve", *ids[:2], "--reason", "yes")
    assert code == 0, err
    found = await states(platform, "listed")
    assert [found[one] for one in ids] == ["approved", "approved", "pending"]


async def test_f3_large_requests_of_one_agent_hide_nobody_elses(platform: Platform) -> None:
    boss = await human(platform, "boss")
    big, ada = await agent(platform, "big", "boss"), await agent(platform, "small", "boss")
    params = {"to": "x", "body": "y" * 250_000}
    honest = await asked(ada)
    large = [await asked(big, params=params) for _ in range(5)]
    listed = await boss.result("query", query="approvals", params={})
    rows = {one["request_id"]: one for one in listed["approvals"]}
    assert {honest, *large} <= set(rows), listed.get("message")
    assert rows[honest]["params"] == {"to": "boss"} and "shortened" not in rows[honest]
    cut = rows[large[0]]
    assert cut["params"]["to"] == "x" and cut["shortened"]["params"]["sha256"] == digest(params)
    assert len(json.dumps(cut)) < 20_000
    whole = await boss.result("query", query="approvals", params={"request_id": large[0]})
    assert whole["approvals"][0]["params"] == params
    question = await boss.find(lambda f: f["type"] == "approval_request" and f["request_id"] == large[0])
    assert question["shortened"]["params"]["bytes"] > 250_000 and large[0] not in question["params"]
    assert "before you decide" in question["whole"] and len(json.dumps(question)) < 100_000
    code, out, err = await platform.run("approvals", "ls", "--group", "main")
    assert code == 0 and honest in out and large[-1] in out, err


async def test_f3_a_list_of_requests_is_read_page_by_page(platform: Platform) -> None:
    boss, ada = await human(platform, "pager"), await agent(platform, "paged", "pager")
    ids = [await asked(ada) for _ in range(5)]
    seen: list[str] = []
    place = None
    for _ in range(3):
        params = {"limit": 2} | ({"page": place} if place else {})
        told = await boss.result("query", query="approvals", params=params)
        seen += [one["request_id"] for one in told["approvals"]]
        place = told["next"]
    assert (seen, place) == (ids[::-1], None)


async def test_f3_what_nobody_could_read_is_refused_when_it_is_asked_for(platform: Platform) -> None:
    ada = await agent(platform, "huge", "hugo")
    for fields in ({"params": {"body": "y" * 270_000}}, {"params": {}, "agent_reasoning": "y" * 70_000}):
        told = await ada.result("tool_request", tool="send_mail", **fields)
        assert (told["status"], told["code"]) == ("failed", "too_large"), told
    assert await states(platform, "huge") == {}


async def test_f3_a_list_that_fails_is_a_failure_and_not_an_empty_list(platform: Platform) -> None:
    ada = await agent(platform, "unheard", "hugo")
    await asked(ada)
    handlers = platform.children("-m handlers")
    assert handlers
    platform.kill("handlers")

    async def listed() -> tuple[int, str]:
        code, out, _ = await platform.run("approvals", "ls", "--timeout", "1s")
        return code, out

    code, out = await listed()
    assert (code == 0) == ("unheard" in out) and "Nothing was asked for." not in out
    await eventually(listed, lambda found: found[0] == 0 and "unheard" in found[1])


async def test_f3_no_service_and_no_agent_answers_over_http(platform: Platform) -> None:
    one = await asked(await agent(platform, "guarded", "hugo"))
    for kind, name in (("service", "hugo"), ("agent", "hugo"), ("service", "svc")):
        bearer = platform.signed(name, entity_type=kind)
        said = {"approved": True, "reason": "yes", "entity_type": "human", "kind": "human"}
        url = f"{platform.http}/approvals/{one}"
        assert (await fetch(url, said, Authorization=f"Bearer {bearer}")).status in (401, 403), (kind, name)
    assert await states(platform, "guarded") == {one: "pending"}


async def test_f3_what_waits_in_any_group_is_listed_where_none_is_named(tmp_path: Path) -> None:
    platform = await Platform(tmp_path / "data").start("--groups", "main,lab")
    try:
        ada = await agent(platform, "afar", "hugo", collaboration_group="lab")
        one = await asked(ada)
        code, out, err = await platform.run("approvals", "ls")
        assert code == 0 and one in out, (out, err)
        found = await platform.json("policy", "explain", one)
        assert found["verdict"] == "pending"
        code, out, _ = await platform.run("approvals", "ls", "--group", "main")
        assert code == 0 and one not in out
    finally:
        await platform.part()
        await platform.stop()


async def test_f3_nothing_is_shown_to_who_is_next_on_the_ladder_and_was_sent_away(platform: Platform) -> None:
    code, _, err = await platform.run("config", "set", "approvals.timeout", "1")
    assert code == 0, err
    try:
        third = await human(platform, "third")
        await (await human(platform, "second")).close()
        code, _, err = await platform.run("config", "set", "approvals.fallback", '["third"]')
        assert code == 0, err
        code, _, err = await platform.run("agents", "kick", "second", "--reason", "gone")
        assert code == 0, err
        ada = await agent(platform, "climber", "first", human_partner="second")
        request_id = (await decided(ada, "send_mail", {"to": "boss"}))["request_id"]
        await third.find(lambda f: f["type"] == "approval_request" and f["request_id"] == request_id)
        shown = await platform.json("approvals", "ls", "--request", request_id)
        assert "second" not in shown["approvals"][0]["asked"]
    finally:
        for name in ("timeout", "fallback"):
            await platform.run("config", "set", f"approvals.{name}", "null")
