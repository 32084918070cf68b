"""F5: the audit trail is chained and kept three times; whatever is done to it is found and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from backchannel.domain.audit import read_link
from backchannel.errors import BackchannelError
from backchannel.home import Home, Role
from backchannel.jetstream.address import Address
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.page import page
from backchannel.jetstream.read import describe
from backchannel.service.audit.segment import files_of
from tests.eventually import eventually
from tests.promises.http import fetch
from tests.promises.running import Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHECK_FAILED = 7


async def trail(platform: Platform, *, category: str = "*", entity: str = "*") -> list[dict[str, Any]]:
    """Every record of the trail that matches, read without a process of its own."""
    found: list[dict[str, Any]] = []
    async with await logged_in(platform, "operator") as connection:
        after, done = 0, False
        while not done:
            part = await page(connection, "BC_AUDIT", after, filter=f"bc.main.audit.{category}.{entity}")
            found += [dict(read_link(record.payload).fields) for record in part.records]
            after, done = part.last_sequence_scanned, part.done
    return found


async def until(platform: Platform, action: str, **which: str) -> dict[str, Any]:
    """The newest record of an action; it may take a moment to be there."""

    async def look() -> list[dict[str, Any]]:
        return [record for record in await trail(platform, **which) if record["action"] == action]

    return (await eventually(look))[-1]


async def verified(platform: Platform, *words: str, code: int = 0) -> dict[str, Any]:
    """The receipt of `audit verify` for the one group, whose exit code must be this one."""
    found, out, err = await platform.run("audit", "verify", "--json", *words)
    assert found == code, (out, err)
    (group,) = json.loads(out)["groups"]
    assert isinstance(group, dict)
    return group


async def logged_in(platform: Platform, role: Role) -> Connection:
    user, password = Home(platform.data).nats_login(role)
    return await Connection.open(Address(platform.nats, user, password), name="test", wait=10)


async def health(platform: Platform) -> dict[str, Any]:
    told = (await fetch(platform.http + "/health")).json()
    assert isinstance(told, dict)
    return told


# ---- what is in it


async def test_a_flood_of_refusals_is_no_flood_of_records(platform: Platform) -> None:
    for _ in range(60):
        with pytest.raises(InvalidStatus):
            await Raw.open(platform.ws, "no token at all")
    refused = await until(platform, "turned_away", category="security")
    assert (refused["facts"]["status"], refused["facts"]["reason"]) == (401, "bad_token")
    assert len(await trail(platform, category="security")) < 12


async def test_whoever_connects_and_leaves_is_on_record(platform: Platform) -> None:
    alice = await platform.agent("alice", permission="observer", intake={"specialties": ["sql"]})
    await alice.close()
    closed = await until(platform, "closed", entity="alice")
    (connected,) = [
        found for found in await trail(platform, entity="alice") if found["action"] == "connected"
    ]
    assert (connected["category"], connected["facts"]["permission"]) == ("connection", "observer")
    assert connected["facts"]["outcome"] == "live_only"
    assert connected["facts"]["intake"] == {"specialties": ["sql"]}
    assert connected["facts"]["address"].startswith("127.0.0.1")
    assert (closed["facts"]["code"], closed["facts"]["connection_id"]) == (
        1000,
        connected["facts"]["connection_id"],
    )


async def test_a_message_in_anothers_name_is_on_record(platform: Platform) -> None:
    mallory = await platform.agent("mallory")
    await mallory.ask("memory_update", context_id="main", exchange={"content": "x"}, sender_agent_id="alice")
    refused = await until(platform, "refused", entity="mallory")
    assert (refused["category"], refused["facts"]["code"]) == ("security", "wrong_sender")


async def test_every_step_in_the_life_of_a_sidebar_is_on_record_once(platform: Platform) -> None:
    anna = await platform.agent("anna")
    spawned = await anna.result("sidebar_spawn", parent_id="main", task_description="look into it")
    sidebar = spawned["sidebar_id"]
    await anna.result("sidebar_pause", sidebar_id=sidebar, reason="lunch")
    await anna.result("sidebar_resume", sidebar_id=sidebar, reason="back")
    platform.kill("handlers")
    await anna.result("sidebar_archive", sidebar_id=sidebar, archive_reason="done")
    await until(platform, "sidebar_archive", entity=sidebar)
    found = await trail(platform, entity=sidebar)
    wanted = ["sidebar_spawn", "sidebar_pause", "sidebar_resume", "sidebar_archive"]
    assert [record["action"] for record in found if record["action"] in wanted] == wanted
    places = [record["facts"]["place"] for record in found]
    assert len(places) == len(set(places))
    assert {record["facts"]["by"] for record in found if record["action"] in wanted} == {"anna"}


async def test_a_token_is_on_record_before_it_is_shown_and_never_in_it(platform: Platform) -> None:
    token = await platform.token("carol", "--type", "human")
    (created,) = await trail(platform, category="identity", entity="carol")
    assert (created["action"], created["facts"]["by"]) == ("token_created", "operator")
    assert created["facts"]["entity_type"] == "human"
    everything = json.dumps(await trail(platform)) + "".join(
        path.read_bytes().decode("utf-8", "replace")
        for path in (platform.data / "audit").rglob("*")
        if path.is_file()
    )
    assert token not in everything
    assert token.split(".")[2] not in everything


async def test_start_is_on_record_and_the_trail_is_sealed(platform: Platform) -> None:
    first, *_ = await trail(platform)
    assert (first["position"], first["action"], first["category"]) == (1, "started", "platform")
    assert (await until(platform, "checkpoint"))["facts"]["position"] >= 1


async def test_only_an_operator_has_deeds_of_operators_entered(platform: Platform) -> None:
    eve = await platform.agent("eve")
    answer = await eve.result("query", query="deed", params={"category": "security", "action": "x"})
    assert answer["status"] == "failed"


# ---- reading it


async def test_the_three_copies_are_found_alike(platform: Platform) -> None:
    receipt = await verified(platform)
    primary, segments, table = receipt["copies"]
    assert [copy["copy"] for copy in receipt["copies"]] == ["primary", "segments", "sqlite"]
    assert receipt["intact"] and receipt["first_divergence"] is None
    assert primary["records"] >= receipt["until"] > 0
    assert (primary["digest"], primary["hash"]) == (segments["digest"], segments["hash"])
    assert (primary["digest"], primary["hash"]) == (table["digest"], table["hash"])
    assert primary["checkpoints"] > 0


async def test_a_record_is_shown_by_position_and_by_id(platform: Platform) -> None:
    (by_position,) = await platform.json("audit", "show", "1")
    assert by_position["action"] == "started"
    assert await platform.json("audit", "show", by_position["id"]) == [by_position]
    code, _, _ = await platform.run("audit", "show", "999999")
    assert code == 3


async def test_what_is_exported_is_what_was_hashed(platform: Platform, tmp_path: Path) -> None:
    code, _, err = await platform.run("audit", "export", "--out", str(tmp_path / "trail.jsonl"))
    assert code == 0, err
    lines = (tmp_path / "trail.jsonl").read_bytes().splitlines()
    kept = [
        line
        for path in files_of(platform.data / "audit" / "segments" / "main")
        for line in path.read_bytes().splitlines()
    ]
    common = min(len(lines), len(kept))
    assert common > 0 and lines[:common] == kept[:common]
    code, _, err = await platform.run("audit", "export", "--out", str(tmp_path / "trail.jsonl"))
    assert (code, "cannot be made" in err) == (2, True)


async def test_nobody_takes_a_record_out_with_the_rights_of_the_platform(platform: Platform) -> None:
    async with await logged_in(platform, "platform") as connection:
        config = (await describe(connection, "BC_AUDIT")).config
        for endpoint, body in (
            ("STREAM.MSG.DELETE.BC_AUDIT", {"seq": 1}),
            ("STREAM.PURGE.BC_AUDIT", {}),
            ("STREAM.UPDATE.BC_AUDIT", {**config, "max_msgs": 1}),
            ("STREAM.DELETE.BC_AUDIT", {}),
        ):
            with pytest.raises(BackchannelError):
                await api(connection, endpoint, body, timeout=0.3)
    assert (await verified(platform))["intact"]


async def test_two_kept_copies_are_shown_by_doctor_and_health(platform: Platform) -> None:
    checks = (await platform.json("doctor"))["checks"]
    (audit,) = [check for check in checks if check["check"] == "audit"]
    assert (audit["outcome"], "in 3 copies" in audit["detail"]) == ("good", True)
    audit = (await health(platform))["audit"]
    assert (audit["copies"], audit["failing"], audit["dropped"]) == ([], None, 0)


async def test_the_flood_is_told_of_with_its_number(platform: Platform) -> None:
    """After the first test of this module, once its window is over."""

    def counted(found: list[dict[str, Any]]) -> int:
        bad = [record["facts"] for record in found if record["facts"].get("reason") == "bad_token"]
        return sum(facts.get("count", 1) for facts in bad)

    found = await eventually(lambda: trail(platform, category="security"), lambda found: counted(found) >= 60)
    assert counted(found) == 60
    assert "turned_away_again" in [record["action"] for record in found]
    assert "no token at all" not in json.dumps(found)


async def test_f5_denials_do_not_fill_the_trail_and_what_is_allowed_is_all_in_there(
    platform: Platform,
) -> None:
    claims = {"supervision_level": "autonomous", "tools": {"allowed": ["plan"]}}
    eve = await platform.enter(platform.signed("eager", **claims))
    params = {"filler": "x" * 15_000}
    sent = [await eve.send("tool_request", tool="not_mine", params=params) for _ in range(60)]
    sent += [await eve.send("tool_request", tool="plan", params={"n": number}) for number in range(25)]
    told = [
        await eve.find(
            lambda f, one=one: f["type"] == "tool_decision" and f["request_id"] == one["message_id"]
        )
        for one in sent
    ]
    assert [one["decision"] for one in told] == ["denied"] * 60 + ["approved"] * 25
    shown = await platform.json("audit", "tail", "--entity", "eager", "--category", "tool", "--limit", "500")
    intents = [one for one in shown if one["phase"] == "intent"]
    assert len([one for one in intents if one["action"] == "denied"]) == 20
    assert len([one for one in intents if one["action"] == "granted"]) == 25
    assert len(json.dumps([one for one in shown if one["action"] == "denied"])) < 20 * 8_000
