"""Row H1: a log is shown once more, taken along and checked, with a receipt."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOG = "BC_EVENTS_main"


async def test_h1_replay_shows_every_message_once_and_in_order(platform: Platform) -> None:
    ada = await platform.agent("replay-ada")
    said = [
        (await ada.ask("memory_update", context_id="main", exchange={"content": f"{number}"}))["in_reply_to"]
        for number in range(30)
    ]
    rows = await platform.json("streams", "replay", LOG)
    assert [row["sequence"] for row in rows] == sorted({row["sequence"] for row in rows})
    heard = [row["message"]["message_id"] for row in rows if row["sender"] == "replay-ada"]
    assert [found for found in heard if found in said] == said
    place = next(row["sequence"] for row in rows if (row["message"] or {}).get("message_id") == said[10])
    rest = await platform.json(
        "streams", "replay", LOG, "--after", str(place), "--subject", "bc.main.evt.ctx.main.>"
    )
    assert [row["message"]["message_id"] for row in rest] == said[11:]
    code, out, _ = await platform.run("streams", "replay", LOG, "--after", str(place))
    assert code == 0 and said[9] not in out and out.count("replay-ada") >= 19


async def test_h1_the_receipt_of_a_sound_log_names_no_gap(platform: Platform) -> None:
    ada = await platform.agent("verify-ada")
    await ada.ask("memory_update", context_id="main", exchange={"content": "x"})
    await ada.result("sidebar_spawn", parent_id="main", task_description="Timers come and go")
    await ada.close()
    code, out, _ = await platform.run("streams", "replay", LOG, "--verify", "--json")
    receipt = json.loads(out)
    assert code == 0
    assert {"first", "last", "count", "gaps", "duplicates", "digest"} <= receipt.keys()
    assert (receipt["first"], receipt["gaps"], receipt["duplicates"]) == (1, [], [])
    assert receipt["count"] + receipt["removed"] == receipt["last"]
    for _ in range(2):
        checked = await platform.json("streams", "verify", "BC_DEAD")
        assert (checked["count"], checked["digest"]) == (0, hashlib.sha256().hexdigest())
    code, out, _ = await platform.run("streams", "verify", LOG, "BC_AUDIT")
    assert code == 0 and out.count("digest") == 2


async def test_h1_an_export_has_all_that_is_stored(platform: Platform) -> None:
    ada = await platform.agent("export-ada")
    said = await ada.ask("memory_update", context_id="main", exchange={"content": "take me along"})
    target = platform.data / "log.jsonl"
    code, out, err = await platform.run("streams", "export", LOG, "--out", str(target))
    assert (code, out) == (0, "") and "messages" in err
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    (mine,) = (line for line in lines if line.get("message", {}).get("message_id") == said["in_reply_to"])
    assert mine["message"]["exchange"] == {"content": "take me along"}
    assert mine["headers"]["Nats-Msg-Id"] == f"export-ada:{said['in_reply_to']}"
    assert mine["subject"] == "bc.main.evt.ctx.main.normal.memory"
    code, _, err = await platform.run("streams", "export", LOG, "--out", str(target))
    assert code == 2 and "cannot be made" in err
    whole = await platform.json("streams", "export", LOG)
    assert mine in whole
    for verb in ("replay", "export", "verify"):
        assert (await platform.run("streams", verb, "NO_SUCH"))[0] == 3
