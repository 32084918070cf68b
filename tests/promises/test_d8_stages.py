"""Row D8: stored, received, handled: three stages, and the sender can ask; through a running platform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.eventually import eventually
from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def where(sender: Raw, message_id: str, **params: Any) -> Frame:
    return await sender.result("query", query="delivery", params={"message_id": message_id, **params})


async def standing(sender: Raw, message_id: str, agent: str) -> Frame:
    answer = await where(sender, message_id)
    assert answer["status"] == "success", answer
    return next(row for row in answer["recipients"] if row["agent_id"] == agent)


async def until(sender: Raw, message_id: str, agent: str, **wanted: Any) -> Frame:
    """Ask until the recipient is that far; acknowledgements are written about once a second."""
    return await eventually(
        lambda: standing(sender, message_id, agent),
        lambda row: all(row[name] == value for name, value in wanted.items()),
    )


async def mentioned(sender: Raw, target: Raw | None, name: str, **fields: Any) -> str:
    sent = await sender.send("mention_route", target_agents=[name], message="look", **fields)
    assert (await sender.answer_to(sent["message_id"]))["type"] == "accepted"
    if target is not None:
        await target.find(lambda frame: frame.get("message_id") == sent["message_id"])
    return str(sent["message_id"])


async def test_stored_received_and_handled_are_told_apart(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    sent = await mentioned(ada, bob, "bob")
    row = await standing(ada, sent, "bob")
    assert (row["received"], row["handled"]) == (False, None)
    got = next(frame for frame in bob.frames if frame.get("message_id") == sent)
    await bob.send_raw({"type": "ack", "cursor": got["cursor"]})
    row = await until(ada, sent, "bob", received=True)
    assert row["handled"] is None
    told = await bob.result("handled", handles=sent, status="done", detail="looked")
    assert (told["status"], told["handled"]) == ("success", "done"), told
    row = await standing(ada, sent, "bob")
    assert row["handled"]["status"] == "done" and row["handled"]["detail"] == "looked"


async def test_a_message_that_is_named_is_received_though_the_cursor_stands_still(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    first, second = await mentioned(ada, bob, "bob"), await mentioned(ada, bob, "bob")
    await bob.send_raw({"type": "ack", "message_ids": [second]})
    await until(ada, second, "bob", received=True)
    assert (await standing(ada, first, "bob"))["received"] is False


async def test_an_id_is_the_same_message_however_it_is_written(platform: Platform) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    sent = await mentioned(ada, bob, "bob", message_id=str(uuid4()).upper())
    await bob.send_raw({"type": "ack", "message_ids": [sent]})
    await until(ada, sent.lower(), "bob", received=True)
    await bob.result("handled", handles=sent, status="done", message_id=str(uuid4()).upper())
    assert (await standing(ada, sent, "bob"))["handled"]["status"] == "done"
    await bob.ask("mention_route", target_agents=["ada"], message="yes", reply_to=sent.lower())
    answer = await ada.result("query", query="wait_for", params={"reply_to": sent})
    assert answer["event"]["message"] == "yes"


@pytest.mark.parametrize("form", [lambda one: one.hex.upper(), lambda one: one.urn, lambda one: f"{{{one}}}"])
async def test_a_message_is_found_whose_id_was_written_without_hyphens_or_with_more(
    platform: Platform, form: Callable[[UUID], str]
) -> None:
    ada, bob = await platform.agent("ada"), await platform.agent("bob")
    known = uuid4()
    sent = await mentioned(ada, bob, "bob", message_id=form(known))
    told = await bob.result("handled", handles=str(known), status="done")
    assert told["status"] == "success", told
    assert (await standing(ada, str(known), "bob"))["handled"]["status"] == "done"
    assert (await standing(ada, sent, "bob"))["handled"]["status"] == "done"
    # The command as well: what was decided about it names it as its sender wrote it.
    command = form(uuid4())
    await bob.result("handled", handles=sent, status="deferred", message_id=command)
    explained = await bob.result("query", query="explain", params={"message_id": command})
    assert explained["result"]["status"] == "success", explained
