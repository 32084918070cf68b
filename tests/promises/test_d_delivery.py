"""Section D, in its first form: mentions wait, resumes are complete."""

from __future__ import annotations

import pytest

from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_d1_a_mention_reaches_its_target_at_once_and_nobody_else(platform: Platform) -> None:
    ada, bob, eve = [await platform.agent(f"d1-{name}") for name in ("ada", "bob", "eve")]
    sent = await ada.ask("mention_route", target_agents=["d1-bob"], message="look", priority="urgent")
    assert sent["type"] == "accepted" and sent["cursor"]
    told = await bob.until("mention_route")
    assert (told["message"], told["sender_agent_id"], told["cursor"]) == ("look", "d1-ada", sent["cursor"])
    await eve.settled()
    assert not eve.events("mention_route")


async def test_d1_an_offline_agent_finds_its_mentions_waiting_in_order_once(platform: Platform) -> None:
    ada, bob = await platform.agent("d1-fay"), await platform.agent("d1-gus")
    await bob.send_raw({"type": "ack", "cursor": bob.welcome["cursor"]})
    await bob.close()
    for number in range(5):
        await ada.ask("mention_route", target_agents=["d1-gus"], message=str(number))
    back = await platform.enter(bob.token)
    assert back.welcome["outcome"] == "resumed" and back.welcome["replaying"] >= 5
    assert [told["message"] for told in back.events("mention_route")] == ["0", "1", "2", "3", "4"]
    await back.send_raw({"type": "ack", "cursor": back.events("mention_route")[-1]["cursor"]})
    await back.settled()
    await back.close()
    again = await platform.enter(bob.token)
    assert not again.events("mention_route")


async def test_d1_who_was_registered_but_never_here_finds_its_mention_on_first_arrival(
    platform: Platform,
) -> None:
    ada = await platform.agent("d1-hal")
    token = await platform.token("d1-ida")
    await ada.ask("mention_route", target_agents=["d1-ida"], message="welcome")
    await ada.ask("memory_update", context_id="main", exchange={"content": "before your time"})
    ida = await platform.enter(token)
    assert ida.welcome["outcome"] == "live_only" and ida.welcome["replaying"] == 1
    assert [told["message"] for told in ida.events("mention_route")] == ["welcome"]
    assert not ida.events("memory_update")


async def test_d1_several_targets_are_told_all_or_none(platform: Platform) -> None:
    ada, bob, cid = [await platform.agent(f"d1-{name}") for name in ("jan", "kim", "leo")]
    refused = await ada.ask("mention_route", target_agents=["d1-kim", "d1-nobody"], message="x")
    assert refused["code"] == "unknown_agent" and "d1-nobody" in refused["message"]
    await ada.ask("mention_route", target_agents=["d1-kim", "d1-leo"], message="both")
    for agent in (bob, cid):
        assert (await agent.until("mention_route"))["message"] == "both"
        await agent.settled()
        assert len(agent.events("mention_route")) == 1


async def test_d5_what_was_acknowledged_is_remembered_by_the_server(platform: Platform) -> None:
    ada, bob = await platform.agent("d5-ada"), await platform.agent("d5-bob")
    for number in range(10):
        await ada.ask("memory_update", context_id="main", exchange={"content": str(number)})
    await bob.settled()
    fourth = bob.events("memory_update")[3]
    await bob.send_raw({"type": "ack", "cursor": fourth["cursor"]})
    await bob.send_raw({"type": "ping"})
    await bob.until("pong")
    await bob.close()
    back = await platform.enter(bob.token)
    contents = [told["exchange"]["content"] for told in back.events("memory_update")]
    assert contents == ["4", "5", "6", "7", "8", "9", "marker"]


async def test_d5_a_cursor_of_another_log_is_a_gap_and_never_silence(platform: Platform) -> None:
    ada = await platform.agent("d5-cid")
    await ada.close()
    back = await platform.enter(ada.token, resume={"cursor": "00000000.5"})
    assert back.welcome["outcome"] == "gap" and back.welcome["resume_failure"]
    assert back.welcome["resumed"] is False
    await back.settled()


@pytest.mark.parametrize("cursor", ["nonsense", "", "1.2.3", "x" * 400])
async def test_d5_a_cursor_that_is_none_is_refused(platform: Platform, cursor: str) -> None:
    agent = await platform.connect(await platform.token("d5-dan"))
    await agent.send_raw({"type": "hello", "resume": {"cursor": cursor}})
    assert (await agent.until("error"))["code"] == "bad_message"


async def test_d5_nobody_can_acknowledge_what_was_not_delivered(platform: Platform) -> None:
    bob = await platform.agent("d5-eva")
    epoch = bob.welcome["cursor"].split(".")[0]
    await bob.send_raw({"type": "ack", "cursor": f"{epoch}.999999999"})
    await bob.send_raw({"type": "ping"})
    await bob.until("pong")
    await bob.close()
    ada = await platform.agent("d5-fay")
    await ada.ask("mention_route", target_agents=["d5-eva"], message="do not miss this")
    back = await platform.enter(bob.token)
    assert [told["message"] for told in back.events("mention_route")] == ["do not miss this"]


async def test_d2_a_sender_hears_its_own_words_in_the_order_of_the_log(platform: Platform) -> None:
    ada, bob = await platform.agent("d2-ada"), await platform.agent("d2-bob")
    for agent in (ada, bob, ada, bob):
        await agent.ask("memory_update", context_id="main", exchange={"content": agent.welcome["agent_id"]})
    await ada.settled()
    await bob.settled()
    first = [told["cursor"] for told in ada.events("memory_update")][:4]
    assert [told["cursor"] for told in bob.events("memory_update")][:4] == first


async def test_d5_an_observer_goes_on_from_what_its_agent_acknowledged(platform: Platform) -> None:
    ada, bob = await platform.agent("d5-gil"), await platform.agent("d5-hob")
    for message in ("known", "new"):
        await ada.ask("mention_route", target_agents=["d5-hob"], message=message)
    await bob.send_raw({"type": "ack", "cursor": (await bob.until("mention_route"))["cursor"]})
    await bob.send_raw({"type": "ping"})
    await bob.until("pong")
    beside = await platform.enter(bob.token, permission="observer", purpose="observer")
    assert beside.welcome["outcome"] == "resumed"
    assert [told["message"] for told in beside.events("mention_route")] == ["new"]
