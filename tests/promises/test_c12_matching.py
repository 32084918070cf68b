"""C12: a sidebar opened for specialties finds its people, through a running platform."""

from __future__ import annotations

from typing import Any

import pytest

from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def able(platform: Platform, name: str, *specialties: str, **intake: Any) -> Raw:
    """An agent that is there and for whom its token vouches that it has these specialties."""
    return await platform.enter(platform.signed(name, specialties=list(specialties)), intake=intake)


async def wanting(agent: Raw, *specialties: str, **fields: Any) -> Frame:
    return await agent.result(
        "sidebar_spawn",
        **{"parent_id": "main", "task_description": "look", "specialties": list(specialties), **fields},
    )


async def test_c12_an_agent_with_the_specialty_is_brought_in_and_told_and_the_answer_says_why(
    platform: Platform,
) -> None:
    ada = await platform.agent("m1-ada")
    bob = await able(platform, "m1-bob", "m1-dns")
    await able(platform, "m1-carol", "m1-other")
    result = await wanting(ada, "m1-dns")
    assert result["participants"] == ["m1-ada", "m1-bob"]
    [chosen] = result["matched"]
    assert (chosen["agent_id"], chosen["specialty"]) == ("m1-bob", "m1-dns")
    assert "online and available" in chosen["reason"]
    told = await bob.until("sidebar_spawn")
    assert told["sidebar_id"] == result["sidebar_id"] and told["matched"] == result["matched"]


async def test_c12_work_goes_to_whoever_has_least(platform: Platform) -> None:
    ada = await platform.agent("m2-ada")
    for name in ("m2-b", "m2-c", "m2-d"):
        await able(platform, name, "m2-dns")
    picked = [(await wanting(ada, "m2-dns"))["matched"][0]["agent_id"] for _ in range(6)]
    assert picked == ["m2-b", "m2-c", "m2-d"] * 2


async def test_c12_an_ended_sidebar_is_no_load(platform: Platform) -> None:
    ada = await platform.agent("m3-ada")
    await able(platform, "m3-b", "m3-dns")
    await able(platform, "m3-c", "m3-dns")
    first = await wanting(ada, "m3-dns")
    await ada.result("sidebar_archive", sidebar_id=first["sidebar_id"], archive_reason="done")
    assert (await wanting(ada, "m3-dns"))["matched"][0]["agent_id"] == "m3-b"


async def test_c12_a_preferred_collaborator_goes_first_whichever_of_the_two_prefers(
    platform: Platform,
) -> None:
    ada = await platform.agent("m4-ada", intake={"preferred_collaborators": ["m4-z"]})
    await able(platform, "m4-b", "m4-dns", "m4-tls")
    await able(platform, "m4-z", "m4-dns")
    await able(platform, "m4-y", "m4-tls", preferred_collaborators=["m4-ada"])
    [dns, tls] = (await wanting(ada, "m4-dns", "m4-tls"))["matched"]
    assert (dns["agent_id"], tls["agent_id"]) == ("m4-z", "m4-y")
    assert "preferred by m4-ada" in dns["reason"] and "prefers to work with m4-ada" in tls["reason"]


async def test_c12_the_busy_and_the_absent_are_called_only_if_nobody_is_free_and_the_reason_says_so(
    platform: Platform,
) -> None:
    ada = await platform.agent("m5-ada")
    busy = await able(platform, "m5-busy", "m5-dns", availability="busy")
    free = await able(platform, "m5-free", "m5-dns")
    assert (await wanting(ada, "m5-dns"))["matched"][0]["agent_id"] == "m5-free"
    for leaving, then, why in ((free, "m5-busy", "online and busy"), (busy, "m5-free", "not connected")):
        await leaving.close()
        await gone(ada, leaving)
        [chosen] = (await wanting(ada, "m5-dns"))["matched"]
        assert chosen["agent_id"] == then and why in chosen["reason"] and "nobody free" in chosen["reason"]


async def gone(watcher: Raw, agent: Raw) -> None:
    """Wait until the directory says that an agent has left."""
    name = agent.welcome["agent_id"]
    await watcher.query(
        "agents",
        lambda answer: not any(found["online"] for found in answer["agents"] if found["agent_id"] == name),
    )


async def test_c12_who_says_it_is_offline_is_left_alone_and_nobody_else_is_not_found(
    platform: Platform,
) -> None:
    ada = await platform.agent("m6-ada")
    await able(platform, "m6-bob", "m6-dns", availability="offline")
    for specialty, said in (("m6-dns", "m6-bob"), ("m6-astrology", "no agent")):
        refused = await wanting(ada, specialty, sidebar_id="m6-room")
        assert (refused["status"], refused["code"], refused["field"]) == (
            "failed",
            "not_found",
            "specialties",
        )
        assert specialty in refused["message"] and said in refused["message"]
    listed = await ada.result("query", query="sidebars", params={})
    assert "m6-room" not in [found["sidebar_id"] for found in listed["sidebars"]]


async def test_c12_who_is_named_serves_and_one_agent_may_serve_for_several(platform: Platform) -> None:
    ada = await platform.agent("m7-ada")
    await able(platform, "m7-bob", "m7-dns")
    await able(platform, "m7-carol", "m7-dns")
    await able(platform, "m7-dan", "m7-tls", "m7-http")
    result = await wanting(ada, "m7-dns", "m7-tls", "m7-http", participants=["m7-carol"])
    assert result["participants"] == ["m7-ada", "m7-carol", "m7-dan"]
    assert [found["agent_id"] for found in result["matched"]] == ["m7-carol", "m7-dan", "m7-dan"]


async def test_c12_the_same_spawn_again_brings_in_nobody_else(platform: Platform) -> None:
    ada = await platform.agent("m8-ada")
    for name in ("m8-b", "m8-c"):
        await able(platform, name, "m8-dns")
    sent = await ada.send(
        "sidebar_spawn", parent_id="main", task_description="look", specialties=["m8-dns"], sidebar_id="m8"
    )
    await ada.find(lambda frame: frame["type"] == "result" and frame["in_reply_to"] == sent["message_id"])
    await ada.send_raw(sent)
    assert (await ada.answer_to(sent["message_id"]))["type"] == "accepted"
    assert (await ada.answer_to(sent["message_id"]))["type"] == "duplicate_ack"
    shown = await ada.result("query", query="sidebar", params={"sidebar_id": "m8"})
    assert shown["sidebar"]["participants"] == ["m8-ada", "m8-b"]


async def test_c12_the_operator_finds_people_from_the_command_line(platform: Platform) -> None:
    await able(platform, "m9-bob", "m9-dns")
    told = await platform.json("sidebars", "spawn", "look", "--specialty", "m9-dns")
    assert told["participants"] == ["m9-bob"] and told["matched"][0]["specialty"] == "m9-dns"
    code, _, err = await platform.run("sidebars", "spawn", "look", "--specialty", "m9-astrology")
    assert code == 3 and "m9-astrology" in err
