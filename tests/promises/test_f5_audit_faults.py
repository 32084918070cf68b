"""F5: killed, full, forged, cut: nothing acknowledged is lost, and `audit verify` names the place."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backchannel.domain.audit import Deed, Link, chained, read_link
from backchannel.errors import BackchannelError, Unavailable
from backchannel.home import Home
from backchannel.jetstream.answer import api
from backchannel.jetstream.read import describe
from backchannel.service.audit.locate import head
from backchannel.service.audit.segment import files_of
from backchannel.service.audit.signature import Signer, genuine
from backchannel.service.audit.standing import ask
from backchannel.service.audit.table import FILE
from backchannel.service.audit.verify import Verification
from backchannel.service.keeping import seed_of
from backchannel.service.trail import Trail
from tests.eventually import eventually
from tests.promises.http import fetch
from tests.promises.running import Platform
from tests.promises.test_f5_audit import CHECK_FAILED, logged_in, until, verified

RECORDS = 40
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def doomed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """A platform that gets worse from test to test."""
    running = await Platform(tmp_path_factory.mktemp("doomed") / "data").start()
    yield running
    await running.stop()


async def fill(platform: Platform, count: int = RECORDS) -> None:
    """Records of which both copies have all."""
    async with await logged_in(platform, "platform") as connection:
        trail = Trail(connection, source="test")
        deeds = [Deed("main", "tool", "alice", "execute", {"number": number}) for number in range(count)]
        written = await asyncio.gather(*map(trail.write, deeds))
        await trail.close()
    await eventually(lambda: copied(platform, written[-1].position))


async def copied(platform: Platform, position: int) -> bool:
    async with await logged_in(platform, "operator") as connection:
        try:
            told = await ask(connection, "main")
        except BackchannelError:
            return False
    return all(copy["position"] >= position for copy in told["copies"])


async def divergence(platform: Platform, *words: str) -> dict[str, Any]:
    """What `audit verify` names; it must find something wrong."""
    receipt = await verified(platform, *words, code=CHECK_FAILED)
    first = receipt["first_divergence"]
    assert isinstance(first, dict), receipt
    return first


class Copies:
    """The copies of the group `main`, to be damaged and put right again."""

    def __init__(self, platform: Platform) -> None:
        self.segment = files_of(platform.data / "audit" / "segments" / "main")[-1]
        self._table = platform.data / "audit" / FILE
        self._text = self.segment.read_bytes()
        self._rows = self.rows("SELECT chain, position, body FROM records")

    def rows(self, statement: str, *values: object) -> list[Any]:
        database = sqlite3.connect(self._table)
        with database:
            found = database.execute(statement, values).fetchall()
        database.close()
        return found

    def restore(self) -> None:
        since = self.segment.read_bytes()[len(self._text) :]
        self.segment.write_bytes(self._text + since)
        for row in self._rows:
            self.rows("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", *row)

    def start_of(self, position: int) -> int:
        """Where in the segment file a record begins."""
        lines = self._text.splitlines(keepends=True)
        return sum(len(line) for line in lines if read_link(line[:-1]).position < position)

    # ---- what may happen to them

    def flip_a_byte(self) -> None:
        text = bytearray(self._text)
        text[self.start_of(20) + 60] ^= 1
        self.segment.write_bytes(text)

    def truncate_the_file(self) -> None:
        os.truncate(self.segment, self.start_of(20) + 10)

    def delete_the_file(self) -> None:
        self.segment.write_bytes(b"")

    def delete_a_row(self) -> None:
        self.rows("DELETE FROM records WHERE position = 20")

    def rewrite_the_table(self) -> None:
        """Another record 20, and every hash after it made to fit."""
        ((before,),) = self.rows("SELECT body FROM records WHERE position = 19")
        link = read_link(before)
        for (body,) in self.rows("SELECT body FROM records WHERE position >= 20 ORDER BY position"):
            fields = {name: value for name, value in read_link(body).fields.items() if name != "hash"}
            if link.position == 19:
                fields["facts"] = {"number": 666}
            link = chained(fields, link.position + 1, link.hash)
            self.rows("UPDATE records SET body = ? WHERE position = ?", link.body, link.position)


DAMAGES = [
    (Copies.flip_a_byte, "segments", 20, "damaged"),
    (Copies.truncate_the_file, "segments", 20, "truncated"),
    (Copies.delete_the_file, "segments", 1, "truncated"),
    (Copies.delete_a_row, "sqlite", 20, "missing"),
    (Copies.rewrite_the_table, "sqlite", 20, "differs"),
]


async def quiet(platform: Platform) -> None:
    """Nothing is written from now on but by the test: no seal within the hour."""
    await until(platform, "checkpoint")
    await platform.json("config", "set", "audit.checkpoint_seconds", "3600")
    await until(platform, "setting_changed")


async def test_damage_to_a_copy_is_found_and_its_place_named(platform: Platform) -> None:
    await quiet(platform)
    await fill(platform)
    for damage, copy, position, kind in DAMAGES:
        copies = Copies(platform)
        damage(copies)
        first = await found(platform)
        assert first is not None
        assert (first["copy"], first["position"], first["kind"]) == (copy, position, kind), first
        copies.restore()
        assert await found(platform) is None


async def found(platform: Platform) -> dict[str, Any] | None:
    """The first divergence, as `audit verify` finds it, without a process of its own."""
    public = Signer(seed_of(Home(platform.data).audit_key())).public
    async with await logged_in(platform, "operator") as connection:
        newest = await head(connection, "main")
        assert newest is not None
        await eventually(lambda: copied(platform, newest.position))
        folder = platform.data / "audit"
        verification = Verification(connection, folder, "main", partial(genuine, public=public))
        return (await verification.run()).first()


async def test_a_stream_that_may_lose_records_is_found_and_can_be_mended(platform: Platform) -> None:
    async with await logged_in(platform, "steward") as connection:
        config = dict((await describe(connection, "BC_AUDIT")).config)
        await api(connection, "STREAM.UPDATE.BC_AUDIT", {**config, "max_msgs": 100_000})
    first = await found(platform)
    assert first is not None
    assert (first["copy"], first["kind"]) == ("primary", "unprotected")
    assert await platform.json("streams", "apply") == ["changed BC_AUDIT: max_msgs"]
    assert await found(platform) is None


async def test_a_full_disk_stops_the_copies_and_nothing_else_and_they_catch_up(platform: Platform) -> None:
    await fill(platform)
    pids = platform.children("handlers")
    full = files_of(platform.data / "audit" / "segments" / "main")[-1].stat().st_size
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    async with await logged_in(platform, "platform") as connection:
        trail = Trail(connection, source="test")
        for number in range(RECORDS):
            await trail.write(Deed("main", "tool", "bob", "execute", {"number": number}))
        await trail.close()
    await until_health(platform, 206, "audit trail of main in segments waits")
    code, out, _ = await platform.run("doctor", "--json")
    (audit,) = [check for check in json.loads(out)["checks"] if check["check"] == "audit"]
    assert (code, audit["outcome"]) == (CHECK_FAILED, "bad")
    assert "too large" in audit["detail"]
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await until_health(platform, 200, "")
    assert (await verified(platform))["intact"]


async def until_health(platform: Platform, status: int, fault: str) -> None:
    await eventually(
        lambda: fetch(platform.http + "/health"),
        lambda answer: answer.status == status and fault in "; ".join(answer.json()["faults"]),
    )


async def killed(platform: Platform, victim: str) -> int:
    return platform.kill(victim)


async def test_whatever_is_killed_nothing_acknowledged_is_lost_and_the_chain_holds(
    platform: Platform,
) -> None:
    acknowledged: set[str] = set()
    stop = asyncio.Event()

    async def write(name: str) -> None:
        async with await logged_in(platform, "platform") as connection:
            trail = Trail(connection, source=name)
            number = 0
            while not stop.is_set():
                deed = Deed("main", "tool", name, "execute", {"number": number}, id=f"{name}-{number}")
                try:
                    await trail.write(deed)
                except Unavailable:
                    continue  # the same record again: it is kept once
                acknowledged.add(f"{name}-{number}")
                number += 1
            await trail.close()

    async def progress(count: int) -> None:
        known = len(acknowledged)
        async with asyncio.timeout(60):
            while len(acknowledged) < known + count:  # noqa: ASYNC110  it says how many, not when
                await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as tasks:
        for name in ("first", "second"):
            tasks.create_task(write(name))
        for victim in ("handlers", "nats-server", "bridge", "handlers", "nats-server"):
            await progress(50)
            await eventually(partial(killed, platform, victim))  # it may not be back from the last time
        stop.set()
    await until_health(platform, 200, "")
    receipt = await verified(platform)
    assert receipt["copies"][0]["records"] >= len(acknowledged)
    kept = [record["id"] for record in await platform.json("audit", "export")]
    assert acknowledged <= set(kept)
    assert len(kept) == len(set(kept))


async def test_an_intent_without_result_is_named_at_the_next_start(doomed: Platform) -> None:
    async with await logged_in(doomed, "platform") as connection:
        trail = Trail(connection, source="test")
        for of in ("one", "two"):
            await trail.write(Deed.intent("main", "tool", "alice", "execute", {}, of))
        await trail.write(Deed.result("main", "tool", "alice", "execute", {"success": True}, "one"))
        held = {"supervision_level": "low", "tools": {"allowed": ["file_read"]}}
        ada = await doomed.enter(doomed.signed("ada", **held))
        asked = await ada.result("tool_request", tool="file_read", params={})
        lost = f"request:{asked['request_id']}"
        await trail.write(Deed.intent("main", "tool", "ada", "granted", {}, lost))
        await trail.close()
    await doomed.kill_everything()
    await doomed.start()
    told = await until(doomed, "unfinished")
    intent, other = sorted(told["facts"]["intents"], key=lambda one: str(one["entity"]), reverse=True)
    assert (intent["of"], intent["entity"], intent["action"]) == ("two", "alice", "execute")
    assert other["of"] == lost
    records = await eventually(
        lambda: doomed.json("audit", "show", lost),
        lambda records: any("reconciled" in one["facts"] for one in records),
    )
    last = records[-1]
    assert (last["phase"], last["facts"]["state"]) == ("result", "approved")


async def test_while_the_trail_takes_nothing_nothing_is_granted_and_health_says_why(doomed: Platform) -> None:
    held = {"supervision_level": "autonomous", "tools": {"allowed": ["web_search"]}}
    ada = await doomed.enter(doomed.signed("ada", **held))
    async with await logged_in(doomed, "steward") as connection:
        facts = await describe(connection, "BC_AUDIT")
        full = {**facts.config, "max_msgs": facts.messages, "discard": "new"}
        await api(connection, "STREAM.UPDATE.BC_AUDIT", full)
        asked = await ada.send("tool_request", tool="web_search", params={})
        assert (await ada.answer_to(asked["message_id"]))["type"] == "accepted"
        await until_health(doomed, 206, "of main takes nothing")
        assert asked["message_id"] not in [one["request_id"] for one in ada.events("tool_decision")]
        await api(connection, "STREAM.UPDATE.BC_AUDIT", dict(facts.config))
    told = await ada.find(
        lambda frame: frame["type"] == "tool_decision" and frame["request_id"] == asked["message_id"]
    )
    assert told["decision"] == "approved"
    await until_health(doomed, 200, "")
    await verified(doomed)


async def test_a_record_taken_out_of_the_stream_is_found(doomed: Platform) -> None:
    await fill(doomed)
    async with await logged_in(doomed, "steward") as connection:
        facts = await describe(connection, "BC_AUDIT")
        lossy = {**facts.config, "max_msgs": facts.messages - 20, "discard": "old"}
        await api(connection, "STREAM.UPDATE.BC_AUDIT", lossy)
        await api(connection, "STREAM.UPDATE.BC_AUDIT", dict(facts.config))
    first = await divergence(doomed)
    assert (first["copy"], first["position"], first["kind"]) == ("primary", 1, "missing")
    assert "records 1 to 20 are missing" in first["detail"]


async def test_a_chain_rewritten_everywhere_breaks_the_seal_and_the_anchor(
    doomed: Platform, tmp_path: Path
) -> None:
    """Whoever owns the machine can make all copies agree on a lie; they cannot sign it."""
    await doomed.stop()
    folder = doomed.data / "audit"
    (file,) = files_of(folder / "segments" / "main")
    records = [read_link(line).fields for line in file.read_bytes().splitlines()]
    sealed = [record["facts"] for record in records if record["action"] == "checkpoint"]
    anchor = tmp_path / "anchor.jsonl"
    anchor.write_text("".join(json.dumps({"group": "main", **facts}) + "\n" for facts in sealed))
    assert (await verified(doomed, "--offline", "--anchor", str(anchor)))["intact"]
    links: list[Link] = []
    for record in records:
        fields = {name: value for name, value in record.items() if name != "hash"}
        if fields["position"] == 1:
            fields["facts"] = {"version": "never started"}
        links.append(chained(fields, fields["position"], links[-1].hash if links else "0" * 64))
    file.write_bytes(b"".join(link.body + b"\n" for link in links))
    database = sqlite3.connect(folder / FILE)
    with database:
        for link in links:
            database.execute("UPDATE records SET body = ? WHERE position = ?", (link.body, link.position))
    database.close()
    assert (await divergence(doomed, "--offline"))["kind"] == "checkpoint"
    receipt = await verified(doomed, "--offline", "--anchor", str(anchor), code=CHECK_FAILED)
    kinds = {problem["kind"] for copy in receipt["copies"] for problem in copy["problems"]}
    assert kinds == {"checkpoint", "anchor"}
    (doomed.data / "secrets" / "audit.key").unlink()
    code, _, err = await doomed.run("audit", "verify", "--offline", "--anchor", str(anchor))
    assert code == CHECK_FAILED and "Line 1" in err, "the key was replaced as well"
    anchor.write_text("no checkpoint\n")
    code, _, err = await doomed.run("audit", "verify", "--offline", "--anchor", str(anchor))
    assert code == 2 and "Line 1" in err
