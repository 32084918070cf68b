"""Rows D8, H1: what cannot be handled is set aside, told, explained, and delivered again by one command."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Entry, Publisher
from backchannel.protocol.subject import claim_mark, order_subject
from tests.eventually import eventually
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def written(platform: Platform, subject: str, content: object) -> None:
    """Something that only the platform writes, in a form that it would not write."""
    user, password = Home(platform.data).nats_login("operator")
    async with await Connection.open(Address(platform.nats, user, password), name="operator") as connection:
        publisher = Publisher(connection)
        headers = {"Nats-Msg-Id": str(uuid4()), "Nats-Rollup": "sub"}
        await publisher.store(Entry(subject, json.dumps(content).encode(), headers))
        await publisher.close()


async def mentioned(sender: Raw, target: Raw, name: str) -> str:
    sent = await sender.send("mention_route", target_agents=[name], message="look")
    await target.find(lambda frame: frame.get("message_id") == sent["message_id"])
    return str(sent["message_id"])


async def set_aside(platform: Platform, bob: Raw, sent: str) -> tuple[str, list[Frame]]:
    """A command that no attempt can handle, because of what lies in its way; its id, and the list."""
    await written(platform, order_subject("main", claim_mark(sent, "ghost")), {"delegates": 5})
    told = await bob.send("handled", handles=sent, status="done")
    failure = await bob.until("undeliverable")
    assert failure["original_message_id"] == told["message_id"]
    return str(told["message_id"]), await platform.json("dead", "ls")


async def test_what_was_set_aside_is_delivered_again_and_applied_once(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    sent = await mentioned(ada, bob, "bob")
    command, rows = await set_aside(platform, bob, sent)
    (row,) = [row for row in rows if row["message_id"] == command]
    assert row["service"] == "handled" and row["attempts"] == 3
    shown = await platform.json("dead", "show", str(row["id"]))
    assert json.loads(shown["payload"])["handles"] == sent
    explained = await platform.json("explain", command)
    assert explained["dead"][0]["id"] == row["id"] and explained["sender"] == "bob"

    code, _, err = await platform.run("dead", "redeliver", command)
    assert code == 0, err
    # What lies in its way is still there: it fails again, and is set aside again.
    await eventually(lambda: platform.json("dead", "ls"))
    await written(platform, order_subject("main", claim_mark(sent, "ghost")), {"delegates": []})
    code, _, err = await platform.run("dead", "redeliver", "--all")
    assert code == 0, err
    told = await bob.result_of(command)
    assert (told["status"], told["handled"]) == ("success", "done")
    assert await platform.json("dead", "ls") == []
    await bob.settled()
    assert sum(1 for frame in bob.events("result") if frame["in_reply_to"] == command) == 1


async def test_an_unknown_dead_letter_is_not_found(platform: Platform) -> None:
    asked = (("show", "123456"), ("redeliver", "123456"), ("redeliver",))
    codes = await asyncio.gather(*(platform.run("dead", *words) for words in asked))
    assert [code for code, _, _ in codes] == [3, 3, 2]


async def test_explain_says_for_whom_a_message_was_and_how_far_each_is(platform: Platform) -> None:
    ada, bob, cleo = [await platform.agent(name) for name in ("ada", "bob", "cleo")]
    opened = await ada.result(
        "sidebar_spawn", parent_id="main", task_description="look", participants=["bob"]
    )
    sidebar = opened["sidebar_id"]
    said = await ada.send("sidebar_message", sidebar_id=sidebar, content="the key is 4711")
    got = await bob.find(lambda frame: frame.get("message_id") == said["message_id"])
    await bob.send_raw({"type": "ack", "cursor": got["cursor"]})
    assert (await ada.result("sidebar_invite", sidebar_id=sidebar, agents=["cleo"]))["status"] == "success"
    told = await eventually(
        lambda: platform.json("explain", said["message_id"]),
        lambda told: told["recipients"][0]["state"] == "received",
    )
    (row,) = told["recipients"]
    assert row["agent_id"] == "bob" and sidebar in row["why"]
    assert [late["agent_id"] for late in told["not_for"]] == ["cleo"]
    assert told["stored"][0]["cursor"] == got["cursor"] and "4711" not in str(told)
    code, out, _ = await platform.run("explain", said["message_id"])
    assert code == 0 and "bob" in out and "not for cleo" in out
    asked = {"message_id": said["message_id"]}
    assert (await ada.result("query", query="explain", params=asked))["status"] == "success"
    for other in (bob, cleo):
        assert (await other.result("query", query="explain", params=asked))["code"] == "not_found"
        assert (await other.result("query", query="delivery", params=asked))["code"] == "not_found"


async def test_explain_of_what_was_never_stored_says_so(platform: Platform) -> None:
    code, _, err = await platform.run("explain", str(uuid4()))
    assert code == 3 and "log does not hold it" in err
    assert (await platform.run("explain", "nonsense"))[0] == 2


async def test_nobody_can_say_handled_of_what_it_did_not_get(platform: Platform) -> None:
    ada, bob, cleo = [await platform.agent(name) for name in ("ada", "bob", "cleo")]
    sent = await mentioned(ada, bob, "bob")
    denied = await cleo.result("handled", handles=sent, status="failed")
    absent = await cleo.result("handled", handles=str(uuid4()), status="failed")
    assert denied["code"] == absent["code"] == "not_found"
    await ada.settled()
    assert ada.events("handled") == []


async def test_a_failure_is_told_to_the_sender(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    sent = await mentioned(ada, bob, "bob")
    await bob.result("handled", handles=sent, status="failed", detail="no rights")
    told = await ada.until("handled")
    assert (told["handles"], told["status"], told["sender_agent_id"]) == (sent, "failed", "bob")


async def test_explain_of_a_tool_request_tells_what_was_decided_and_only_to_who_may_know(
    platform: Platform,
) -> None:
    ada, bob = [await platform.agent(name) for name in ("dora", "bert")]
    sent = await ada.send("tool_request", tool="shell", params={})
    decision = await ada.until("tool_decision")
    assert decision["decision"] == "denied"
    told = await platform.json("explain", sent["message_id"])
    assert (told["sender"], told["result"]["type"]) == ("dora", "tool_decision")
    assert (told["result"]["status"], told["result"]["message"]) == ("denied", decision["reason"])
    asked = {"message_id": sent["message_id"]}
    assert (await ada.result("query", query="explain", params=asked))["sender"] == "dora"
    assert (await bob.result("query", query="explain", params=asked))["code"] == "not_found"


async def test_d8_who_sent_what_cannot_be_read_is_told_by_the_id_that_lies_beside_it(
    platform: Platform,
) -> None:
    ada = await platform.agent("unread-ada")
    user, password = Home(platform.data).nats_login("platform")
    sent = str(uuid4())
    async with await Connection.open(Address(platform.nats, user, password), name="platform") as connection:
        publisher = Publisher(connection)
        subject = "bc.main.cmd.normal.unread-ada.sidebar_pause"
        await publisher.store(Entry(subject, b"\xff", {"Nats-Msg-Id": f"unread-ada:{sent}"}))
        await publisher.close()
    told = await ada.until("undeliverable")
    assert told["original_message_id"] == told["in_reply_to"] == sent
