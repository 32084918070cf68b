"""A7, C15: an agent with a good token and a client of its own tries everything, without effect."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NothingCame

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from tests.build import content
from tests.promises.native import Native
from tests.promises.running import WAIT, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOG, MINE, THEIRS = "BC_EVENTS_main", "agent-mallory", "agent-bob"
WATCHED = ("BC_EVENTS_main", "BC_COMMANDS", "BC_DEAD", "KV_BC_agents", "KV_BC_config", "KV_BC_rights")
API = "$JS.API"


@dataclass
class Scene:
    """Mallory attacks; Bob hears on every subject of his inbox; Wendy watches the group."""

    platform: Platform
    mallory: Native
    bob: Native
    wendy: Raw
    eye: Connection
    sidebar: str
    inbox: list[bytes]

    async def digests(self) -> dict[str, Any]:
        """All that anybody could tell an effect from."""
        found: dict[str, Any] = {}
        for stream in WATCHED:
            told = await api(self.eye, f"STREAM.INFO.{stream}")
            state, config = told["state"], json.dumps(told["config"], sort_keys=True)
            found[stream] = (state["messages"], state["first_seq"], state["last_seq"], config)
        for name in (MINE, THEIRS):
            told = await api(self.eye, f"CONSUMER.INFO.{LOG}.{name}")
            found[name] = (told["created"], told["delivered"]["stream_seq"], told["ack_floor"]["stream_seq"])
            found[f"{name} filters"] = sorted(told["config"]["filter_subjects"])
        streams = await api(self.eye, "STREAM.NAMES")
        found["streams"] = sorted(streams["streams"])
        return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def scene(serving: Platform) -> AsyncIterator[Scene]:
    mallory = await Native.enter(serving.nats, "mallory", serving.signed("mallory"))
    bob = await Native.enter(serving.nats, "bob", serving.signed("bob"))
    inbox: list[bytes] = []

    async def heard(message: Any) -> None:
        inbox.append(message.data)

    await bob.client.subscribe("_INBOX_bob.>", cb=heard)
    wendy = await serving.agent("wendy")
    spawned = await wendy.result(
        "sidebar_spawn", parent_id="main", task_description="t", participants=["bob"]
    )
    await wendy.ask("sidebar_message", sidebar_id=spawned["sidebar_id"], content="the secret")
    await bob.pull(50, 1.0)
    await mallory.pull(50, 1.0)
    await bob.client.flush()
    inbox.clear()
    user, password = Home(serving.data).nats_login("platform")
    eye = await Connection.open(Address(serving.nats, user, password), name="eye")
    yield Scene(serving, mallory, bob, wendy, eye, spawned["sidebar_id"], inbox)
    await eye.close()
    await mallory.close()
    await bob.close()
    await wendy.close()


MESSAGE = json.dumps(content("memory_update", context_id="main", exchange={"content": "evil"})).encode()

PUBLISHED = {
    "a command of another agent": "bc.main.cmd.normal.bob.memory_update",
    "a command of nobody": "bc.main.cmd.normal..memory_update",
    "a command of everybody": "bc.main.cmd.normal.*.memory_update",
    "a command in another group": "bc.other.cmd.normal.mallory.memory_update",
    "a command as operator": "bc.main.cmd.normal.operator.sidebar_archive",
    "the lane of emergencies": "bc.main.cmd.security_emergency.mallory.security_emergency",
    "the lane of failures": "bc.main.cmd.critical_failure.mallory.critical_failure",
    "a command with a tail": "bc.main.cmd.normal.mallory.memory_update.more",
    "an event": "bc.main.evt.ctx.main.normal.talk",
    "a lifecycle event": "bc.main.evt.ctx.main.normal.life",
    "an event for everyone": "bc.main.evt.all.normal.broadcast",
    "another's inbox in the log": "bc.main.evt.inbox.bob.normal.mention",
    "one's own inbox in the log": "bc.main.evt.inbox.mallory.normal.result",
    "a timer": "bc.main.timer.sched.idle.silence.x",
    "a timer that is due": "bc.main.timer.due.idle.silence.x",
    "the audit trail": "bc.main.audit.security.bob",
    "what is dead": "bc.main.dead.sidebar",
    "a tool": "bc.main.tool.shell",
    "questions of another group": "bc.other.svc.query.agents",
    "another's reply inbox": "_INBOX_bob.guess",
    "the platform's reply inbox": "_INBOX.guess",
    "the door for commands": "native.cmd.main.normal.bob.memory_update",
    "the door for questions": "native.svc.main.query.agents",
    "the door for reading": "native.next.BC_EVENTS_main.agent-bob",
    "the way to inboxes": "native.to._INBOX_bob.x",
    "another's reading, as mapped": f"agents.api.consumer.next.{LOG}.{THEIRS}",
    "another's consumer, as mapped": f"agents.api.consumer.info.{LOG}.{THEIRS}",
    "another's reading": f"{API}.CONSUMER.MSG.NEXT.{LOG}.{THEIRS}",
    "another's consumer": f"{API}.CONSUMER.INFO.{LOG}.{THEIRS}",
    "a consumer of a service": f"{API}.CONSUMER.INFO.BC_COMMANDS.sidebar-main-normal",
    "reading for a service": f"{API}.CONSUMER.MSG.NEXT.BC_COMMANDS.sidebar-main-normal",
    "making a consumer": f"{API}.CONSUMER.CREATE.{LOG}.spy",
    "making a filtered consumer": f"{API}.CONSUMER.CREATE.{LOG}.spy.bc.main.evt.>",
    "changing one's own consumer": f"{API}.CONSUMER.CREATE.{LOG}.{MINE}",
    "making a durable the old way": f"{API}.CONSUMER.DURABLE.CREATE.{LOG}.{MINE}",
    "deleting one's own consumer": f"{API}.CONSUMER.DELETE.{LOG}.{MINE}",
    "deleting another's consumer": f"{API}.CONSUMER.DELETE.{LOG}.{THEIRS}",
    "resetting one's own consumer": f"{API}.CONSUMER.RESET.{LOG}.{MINE}",
    "pausing another's consumer": f"{API}.CONSUMER.PAUSE.{LOG}.{THEIRS}",
    "unpinning": f"{API}.CONSUMER.UNPIN.{LOG}.{THEIRS}",
    "listing consumers": f"{API}.CONSUMER.NAMES.{LOG}",
    "describing consumers": f"{API}.CONSUMER.LIST.{LOG}",
    "reading by position": f"{API}.STREAM.MSG.GET.{LOG}",
    "reading directly": f"{API}.DIRECT.GET.{LOG}",
    "reading a subject directly": f"{API}.DIRECT.GET.{LOG}.bc.main.evt.inbox.bob.normal.mention",
    "deleting a message": f"{API}.STREAM.MSG.DELETE.{LOG}",
    "describing a stream": f"{API}.STREAM.INFO.{LOG}",
    "listing streams": f"{API}.STREAM.LIST",
    "naming streams": f"{API}.STREAM.NAMES",
    "making a stream": f"{API}.STREAM.CREATE.SPY",
    "changing a stream": f"{API}.STREAM.UPDATE.{LOG}",
    "emptying a stream": f"{API}.STREAM.PURGE.{LOG}",
    "deleting a stream": f"{API}.STREAM.DELETE.{LOG}",
    "copying a stream": f"{API}.STREAM.SNAPSHOT.{LOG}",
    "restoring a stream": f"{API}.STREAM.RESTORE.{LOG}",
    "moving a leader": f"{API}.STREAM.LEADER.STEPDOWN.{LOG}",
    "about the account": f"{API}.INFO",
    "acknowledging for another": f"$JS.ACK.{LOG}.{THEIRS}.1.1.1.1.0",
    "acknowledging for a service": "$JS.ACK.BC_COMMANDS.sidebar-main-normal.1.1.1.1.0",
    "flow control": f"$JS.FC.{LOG}.{THEIRS}.x",
    "the directory": "$KV.BC_agents.main.bob",
    "rights": "$KV.BC_rights.main.mallory",
    "live settings": "$KV.BC_config.cleanup.enabled",
    "sessions": "$KV.BC_sessions.main.bob.primary",
    "passes": "$KV.BC_native.main.mallory",
    "an object store": "$O.x.C.y",
    "the server's statistics": "$SYS.REQ.SERVER.PING",
    "closing connections": "$SYS.REQ.SERVER.PING.CONNZ",
    "reloading the server": "$SYS.REQ.SERVER.X.RELOAD",
    "the callout": "$SYS.REQ.USER.AUTH",
    "who am I": "$SYS.REQ.USER.INFO.X",
    "service discovery": "$SRV.PING",
    "anything": "hello",
}

SUBSCRIBED = (
    *(">", "*", "*.>", "*.*.*", "bc.>", "bc.main.evt.>", "bc.main.evt.ctx.*.*.talk", "bc.main.cmd.>"),
    *("_INBOX.>", "_INBOX_bob.>", "_INBOX_bob.x", "native.>", "native.to.>", "native.to._INBOX_bob.>"),
    *("agents.>", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$JS.EVENT.>", "$KV.>", "$SYS.>", "$SRV.>"),
    *("$SYS.REQ.USER.AUTH", "bc.main.svc.query.*", "_R_.>", "_INBOX_mallory", "_INBOX_mallor.>"),
)


async def complaint(mallory: Native, wanted: str) -> None:
    heard: list[str] = []
    try:
        async with asyncio.timeout(WAIT):
            while not any(wanted in said for said in heard):
                heard.append(await mallory.complaints.get())
    except TimeoutError:
        raise AssertionError(f"no complaint {wanted!r} among {heard}") from None


@pytest.mark.parametrize("attempt", PUBLISHED)
async def test_a7_the_nats_server_refuses_to_publish(scene: Scene, attempt: str) -> None:
    before = await scene.digests()
    subject, reply = PUBLISHED[attempt], scene.mallory.client.new_inbox()
    answers = await scene.mallory.client.subscribe(reply)
    headers = {"Bc-Caller": "operator", "Bc-Role": "operator"}
    if "*" in subject or ".." in subject:  # the library itself does not send these
        await scene.mallory.client._send_command(f"PUB {subject} {reply} 2\r\n{{}}\r\n".encode())
    else:
        await scene.mallory.client.publish(subject, MESSAGE, reply=reply, headers=headers)
    await scene.mallory.client.flush()
    if ".." not in subject:
        await complaint(scene.mallory, f'permissions violation for publish to "{told(subject)}"')
    assert await scene.digests() == before
    assert answers.pending_msgs == 0
    assert scene.inbox == []
    await answers.unsubscribe()


def told(subject: str) -> str:
    """How the server names it: permissions are checked behind the mapping; the library writes it small."""
    for word in ("MSG.NEXT", "INFO"):
        subject = subject.replace(
            f"{API}.CONSUMER.{word}.", f"agents.api.consumer.{word.split('.')[-1].lower()}."
        )
    return subject.lower()


@pytest.mark.parametrize("subject", SUBSCRIBED)
async def test_a7_the_nats_server_refuses_to_listen(scene: Scene, subject: str) -> None:
    await scene.mallory.client.subscribe(subject)
    await scene.mallory.client.flush()
    await complaint(scene.mallory, f'permissions violation for subscription to "{subject.lower()}"')


ALLOWED = {
    "a command": ("bc.main.cmd.normal.mallory.memory_update", b"{}"),
    "a question": ("bc.main.svc.query.agents", b"{}"),
    "reading": (f"{API}.CONSUMER.MSG.NEXT.{LOG}.{MINE}", b'{"batch":5,"no_wait":true}'),
    "one's consumer": (f"{API}.CONSUMER.INFO.{LOG}.{MINE}", b""),
    "an acknowledgement": (f"$JS.ACK.{LOG}.{MINE}.1.1.1.1.0", b"+ACK"),
}
FORGED = (
    *("_INBOX_bob.guess", "_INBOX_bob.guess.more", "_INBOX.guess", "bc.main.evt.ctx.main.normal.talk"),
    *("bc.main.cmd.normal.bob.memory_update", "bc.main.svc.query.agents", "$KV.BC_rights.main.bob"),
    *(f"{API}.STREAM.PURGE.{LOG}", "native.to._INBOX_bob.x", "native.cmd.main.normal.bob.memory_update"),
)


@pytest.mark.parametrize("attempt", ALLOWED)
@pytest.mark.parametrize("reply", FORGED)
async def test_a7_a_forged_reply_subject_leads_nowhere(scene: Scene, attempt: str, reply: str) -> None:
    before = await scene.digests()
    subject, payload = ALLOWED[attempt]
    await scene.mallory.client.publish(subject, payload, reply=reply)
    await scene.mallory.ask("ping")  # all before it has been handled, or will not be
    assert await scene.digests() == before
    await scene.bob.client.flush()
    assert scene.inbox == []


def spoilt(**changes: Any) -> dict[str, Any]:
    return {**content("memory_update", context_id="main", exchange={"content": "evil"}), **changes}


REFUSED: dict[str, tuple[str, Any, dict[str, str]]] = {
    "in another's name": ("memory_update", spoilt(sender_agent_id="bob"), {}),
    "with another's id": ("memory_update", spoilt(), {"Nats-Msg-Id": f"bob:{uuid.uuid4()}"}),
    "with an id that is not its own": ("memory_update", spoilt(), {"Nats-Msg-Id": f"mallory:{uuid.uuid4()}"}),
    "under another type": ("sidebar_message", spoilt(), {}),
    "in a lane it does not belong to": ("memory_update", spoilt(priority="critical"), {}),
    "as the platform": ("tool_decision", content("tool_decision"), {}),
    "as a result": ("result", content("result", in_reply_to="x", status="success"), {}),
    "of an unknown type": ("nonsense", spoilt(type="nonsense"), {}),
    "as something for a connection": ("subscription_update", content("subscription_update"), {}),
    "without an id": ("memory_update", {"type": "memory_update"}, {}),
    "with an id that is none": ("memory_update", spoilt(message_id="../../x"), {}),
    "with a context that is none": ("memory_update", spoilt(context_id="main.>"), {}),
    "as a list": ("memory_update", b"[]", {}),
    "as nothing": ("memory_update", b"", {}),
    "as garbage": ("memory_update", b"\xff\x00\x80{", {}),
    "cut off": ("memory_update", MESSAGE[:-3], {}),
    "nested too deeply": ("memory_update", b'{"a":' * 5000 + b"1" + b"}" * 5000, {}),
    "with a number that is none": ("memory_update", MESSAGE.replace(b'"evil"', b"NaN"), {}),
    "too large": ("memory_update", spoilt(padding="x" * 1_300_000), {}),
}


@pytest.mark.parametrize("attempt", REFUSED)
async def test_a7_what_must_not_be_said_is_refused_and_told(scene: Scene, attempt: str) -> None:
    before = await scene.digests()
    kind, payload, headers = REFUSED[attempt]
    answer = await scene.mallory.offer(scene.mallory.subject(kind), payload, headers)
    assert answer["error"]["code"] == 400 and answer["error"]["description"]
    assert await scene.digests() == before


FORGED_HEADERS = {
    "Bc-Claims": json.dumps({"entity_type": "human", "role": "operator", "sidebar_access": ["x"]}),
    "Bc-Caller": "operator",
    "Bc-Role": "operator",
    "Bc-Access": "x",
    "Bc-Lane": "security_emergency",
    "Bc-Type": "result",
    "Nats-Rollup": "all",
    "Nats-TTL": "1",
    "Nats-Expected-Last-Sequence": "0",
    "Nats-Expected-Stream": "SPY",
    "Nats-Schedule": "@at 2026-01-01T00:00:00Z",
    "Nats-Schedule-Target": "bc.main.evt.ctx.main.normal.talk",
    "Nats-Batch-Id": "b",
    "Nats-Batch-Sequence": "1",
    "Nats-Request-Info": '{"acc":"AGENTS","user":"main.bob"}',
    "traceparent": "junk\tand more",
    "Nats-Incr": "+1",
}


async def test_a7_headers_that_are_not_a_senders_to_set_are_dropped(scene: Scene) -> None:
    message = spoilt()
    answer = await scene.mallory.offer(scene.mallory.subject("memory_update"), message, FORGED_HEADERS)
    told = await api(scene.eye, "STREAM.MSG.GET.BC_COMMANDS", {"seq": answer["seq"]})
    head = base64.b64decode(told["message"]["hdrs"]).decode()
    names = {line.partition(":")[0] for line in head.splitlines()[1:] if line}
    assert names == {"Nats-Msg-Id", "Bc-Type", "Bc-Lane", "Bc-Claims"}
    assert "operator" not in head and "human" not in head
    heard = await scene.wendy.find(lambda frame: frame.get("message_id") == message["message_id"])
    assert heard["sender_agent_id"] == "mallory"
    assert scene.inbox == []
    await scene.bob.pull(50, 1.0)
    await scene.mallory.pull(50, 1.0)
    scene.inbox.clear()


async def test_a7_no_trace_of_a_message_is_sent_to_anybody(scene: Scene) -> None:
    before = await scene.digests()
    headers = {"Nats-Trace-Dest": "_INBOX_bob.trace"}
    await scene.mallory.client.publish(scene.mallory.subject("memory_update"), MESSAGE, headers=headers)
    await complaint(scene.mallory, "permissions violation for publish")
    assert await scene.digests() == before
    assert scene.inbox == []


async def test_c15_no_header_opens_a_sidebar_to_a_question_or_a_command(scene: Scene) -> None:
    headers = {**FORGED_HEADERS, "Bc-Access": scene.sidebar}
    headers["Bc-Claims"] = json.dumps({"role": "operator", "sidebar_access": [scene.sidebar]})
    for query, params in (
        ("context", {"context_id": scene.sidebar}),
        ("sidebar", {"sidebar_id": scene.sidebar}),
        ("history", {"sidebar_id": scene.sidebar}),
    ):
        answer = await scene.mallory.ask(query, headers, **params)
        assert answer["status"] == "denied" and "secret" not in json.dumps(answer)
    listed = await scene.mallory.ask("sidebars", headers)
    assert scene.sidebar not in json.dumps(listed)
    for kind, fields in (
        ("sidebar_archive", {"archive_reason": "mine"}),
        ("sidebar_message", {"content": "let me in"}),
        ("sidebar_join", {}),
    ):
        message = content(kind, sidebar_id=scene.sidebar, **fields)
        assert "seq" in await scene.mallory.offer(scene.mallory.subject(kind), message, headers)
        told = await scene.mallory.result_of(message["message_id"])
        assert told["status"] == "denied"


async def test_a7_nobody_can_use_up_the_id_of_anothers_message(scene: Scene) -> None:
    """The id of a message is its sender's and its own: who knows it beforehand can do nothing with it."""
    message = content("memory_update", context_id="main", exchange={"content": "bob's own"})
    theirs = {"Nats-Msg-Id": f"bob:{message['message_id']}"}
    refused = await scene.mallory.offer(scene.mallory.subject("memory_update"), message, theirs)
    assert refused["error"]["code"] == 400
    mine = await scene.mallory.offer(scene.mallory.subject("memory_update"), message)
    assert not mine["duplicate"]
    stored = await scene.bob.offer(scene.bob.subject("memory_update"), message, theirs)
    assert not stored["duplicate"]
    heard = {
        (
            await scene.wendy.find(
                lambda frame: frame.get("message_id") == message["message_id"] and "cursor" in frame
            )
        )["sender_agent_id"]
        for _ in range(2)
    }
    assert heard == {"bob", "mallory"}


async def test_a7_next_said_as_an_acknowledgement_brings_nothing(scene: Scene) -> None:
    """`+NXT` would have the server deliver past the platform, which counts positions."""
    client = scene.mallory.client
    await scene.wendy.ask("memory_update", context_id="main", exchange={"content": "one"})
    await scene.wendy.ask("memory_update", context_id="main", exchange={"content": "two"})
    pulls = await client.jetstream().pull_subscribe_bind(MINE, LOG)
    (first,) = await pulls.fetch(1, timeout=WAIT)
    with pytest.raises((NothingCame, NoRespondersError)):
        await client.request(first.reply, b"+NXT", timeout=1)
    await first.ack_sync(WAIT)


async def test_a7_who_sends_too_much_is_slowed_down_and_the_others_are_not(scene: Scene) -> None:
    subject = scene.mallory.subject("agent_presence")
    asked = [scene.mallory.client.request(subject, b"{", timeout=WAIT) for _ in range(3_000)]
    answers = [json.loads(answer.data)["error"] for answer in await asyncio.gather(*asked)]
    assert {answer["code"] for answer in answers} == {400, 429}
    said = await scene.bob.say("memory_update", context_id="main", exchange={"content": "still here"})
    await scene.wendy.find(lambda frame: frame.get("message_id") == said["message_id"])
