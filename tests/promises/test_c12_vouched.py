"""C12 and D7: a specialty that somebody gave itself brings it to nothing that is not for everybody."""

from __future__ import annotations

import json

import pytest

from tests.promises.running import Platform
from tests.promises.test_d7_delegation import left, urgent

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_who_only_says_that_it_has_a_specialty_is_not_brought_in_for_it(platform: Platform) -> None:
    ada = await platform.agent("v1-ada")
    eve = await platform.agent("v1-eve", intake={"specialties": ["v1-dns"]})
    await eve.ask("agent_presence", status="working", specialties=["v1-dns", "v1-tls"])
    spawn = {"parent_id": "main", "task_description": "secret-task"}
    refused = await ada.result("sidebar_spawn", **spawn, specialties=["v1-dns"])
    assert (refused["code"], refused["field"]) == ("not_found", "specialties")
    assert "v1-eve" in refused["message"] and "--specialties" in refused["message"]
    named = await ada.result("sidebar_spawn", **spawn, specialties=["v1-dns"], participants=["v1-eve"])
    assert named["status"] == "success" and named["matched"][0]["agent_id"] == "v1-eve"
    token = await platform.token("v1-bob", "--specialties", "v1-dns,v1-tls")
    await platform.enter(token)
    found = await ada.result("sidebar_spawn", **spawn, specialties=["v1-dns"])
    assert found["participants"] == ["v1-ada", "v1-bob"], found


async def test_a_self_made_specialist_cannot_write_into_the_directory_that_it_is_vouched_for(
    platform: Platform,
) -> None:
    ada = await platform.agent("v2-ada")
    forged = {"vouched_specialties": ["v2-dns"], "vouched_by_operator": ["v2-dns"]}
    eve = await platform.agent("v2-eve", intake={"specialties": ["v2-dns"], **forged})
    await eve.ask("agent_presence", status="working", specialties=["v2-dns"], **forged)
    refused = await ada.result(
        "sidebar_spawn", parent_id="main", task_description="t", specialties=["v2-dns"]
    )
    assert refused["code"] == "not_found"
    await platform.enter(platform.signed("v2-bob", specialties=["v2-dns"]))
    await platform.enter(platform.signed("v2-bob"), permission="observer", purpose="observer")
    later = await ada.result("sidebar_spawn", parent_id="main", task_description="t", specialties=["v2-dns"])
    assert later["code"] == "not_found", "the token with which it came last says nothing of it"


async def test_an_urgent_mention_is_shown_to_nobody_who_is_not_vouched_for(platform: Platform) -> None:
    ada = await platform.agent("v3-ada")
    gone = await platform.agent("v3-bob", intake={"specialties": ["v3-disks"]})
    await gone.close()
    eve = await platform.agent("v3-eve", intake={"specialties": ["v3-disks"]})
    await left(ada, "v3-bob")
    sent = await urgent(ada, "v3-bob")
    told = await eve.until("mention_route")
    assert "v3-bob" in told["message"] and "v3-disks" in told["message"]
    assert told["sender_agent_id"] != "v3-ada" and "delegated_from" not in told
    assert "the disk is full" not in json.dumps(eve.frames) and sent not in json.dumps(eve.frames)
    taken = await eve.result("handled", handles=sent, status="done")
    assert taken["code"] == "not_found"
    dan = await platform.enter(platform.signed("v3-dan", specialties=["v3-disks"]))
    second = await urgent(ada, "v3-bob")
    offered = await dan.find(lambda frame: frame.get("message_id") == second)
    assert offered["delegated_from"] == "v3-bob"
    await eve.settled()
    assert len(eve.events("mention_route")) == 1


async def test_an_operator_vouches_for_what_an_agent_can_do_and_takes_it_back(platform: Platform) -> None:
    ada = await platform.agent("v4-ada")
    await platform.agent("v4-bob", intake={"specialties": ["v4-dns"]})
    spawn = {"parent_id": "main", "task_description": "t", "specialties": ["v4-dns"]}
    assert (await ada.result("sidebar_spawn", **spawn))["code"] == "not_found"
    told = await platform.json("agents", "vouch", "v4-bob", "v4-dns")
    assert told["vouched_by_operator"] == ["v4-dns"]
    await platform.agent(
        "v4-bob", intake={"vouched_by_operator": []}, permission="observer", purpose="observer"
    )
    assert (await ada.result("sidebar_spawn", **spawn))["participants"] == ["v4-ada", "v4-bob"]
    await platform.json("agents", "vouch", "v4-bob")
    assert (await ada.result("sidebar_spawn", **spawn))["code"] == "not_found"
    code, _, _ = await platform.run("agents", "vouch", "v4-nobody", "v4-dns")
    assert code == 3
    trail = await platform.json("audit", "tail", "--entity", "v4-bob")
    assert "specialties_vouched" in [row["action"] for row in trail]
