"""Section A, in its first form: who may connect, as whom, and how often."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from backchannel.home import Home
from tests.eventually import eventually
from tests.promises.running import WAIT, Platform, Raw
from tests.promises.test_f5_audit import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    known = {
        "sub": "forged",
        "entity_id": "forged",
        "aud": "backchannel",
        "iat": now,
        "exp": now + 600,
        "jti": "0123456789",
        "collaboration_group": "main",
    }
    return {name: value for name, value in (known | more).items() if value is not None}


async def refused(platform: Platform, headers: dict[str, str], path: str = "") -> int:
    with pytest.raises(InvalidStatus) as refusal:
        await connect(platform.ws + path, additional_headers=headers, open_timeout=WAIT)
    return refusal.value.response.status_code


@pytest.mark.parametrize("header", ["X-Memory-Auth", "Authorization", "subprotocol"])
async def test_a1_a_token_is_taken_from_either_header_or_the_subprotocol(
    platform: Platform, header: str
) -> None:
    token = await platform.token("a1-ada")
    headers = {"X-Memory-Auth": token} if header == "X-Memory-Auth" else {"Authorization": f"Bearer {token}"}
    offered = [Subprotocol("backchannel.v1"), Subprotocol(f"bearer.{token}")]
    async with connect(
        platform.ws,
        additional_headers={} if header == "subprotocol" else headers,
        subprotocols=offered if header == "subprotocol" else None,
        open_timeout=WAIT,
    ) as socket:
        await socket.send('{"type":"hello"}')
        welcome = json.loads(await socket.recv())
        assert (welcome["type"], welcome["agent_id"]) == ("welcome", "a1-ada")
        assert socket.subprotocol == ("backchannel.v1" if header == "subprotocol" else None)


async def test_a1_no_token_is_refused_at_the_upgrade_and_one_in_the_url_counts_for_nothing(
    platform: Platform,
) -> None:
    token = await platform.token("a1-bea")
    assert await refused(platform, {}) == 401
    assert await refused(platform, {}, f"?token={token}&access_token={token}") == 401


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("expired", {"exp": int(time.time()) - 120, "iat": int(time.time()) - 600}),
        ("without expiry", {"exp": None}),
        ("of a wrong group", {"collaboration_group": "elsewhere"}),
        ("for another audience", {"aud": "somebody-else"}),
        ("without a subject", {"sub": None}),
        ("with two names", {"entity_id": "ada"}),
        ("with a name that is no token", {"sub": "a.>", "entity_id": "a.>"}),
        ("without an id", {"jti": None}),
        ("from the future", {"iat": int(time.time()) + 6000, "exp": int(time.time()) + 9000}),
    ],
)
async def test_a2_a_token_that_breaks_a_rule_is_refused_without_saying_why(
    platform: Platform, what: str, change: dict[str, Any]
) -> None:
    key = Home(platform.data).token_key()
    token = jwt.encode(claims(**change), key, algorithm="HS256")
    with pytest.raises(InvalidStatus) as refusal:
        await connect(platform.ws, additional_headers={"X-Memory-Auth": token}, open_timeout=WAIT)
    assert refusal.value.response.status_code == 401
    body = bytes(refusal.value.response.body or b"")
    assert what.encode() not in body and token.encode() not in body


async def test_a2_a_good_token_of_the_right_key_is_all_it_takes(platform: Platform) -> None:
    token = jwt.encode(claims(), Home(platform.data).token_key(), algorithm="HS256")
    agent = await platform.enter(token)
    assert agent.welcome["agent_id"] == "forged"


@pytest.mark.parametrize(("key", "algorithm"), [(b"x" * 32, "HS256"), (None, "none"), ("right", "HS512")])
async def test_a2_a_wrong_key_or_algorithm_is_refused(platform: Platform, key: Any, algorithm: str) -> None:
    key = Home(platform.data).token_key() * 2 if key == "right" else key
    token = jwt.encode(claims(), key, algorithm=algorithm)
    assert await refused(platform, {"X-Memory-Auth": token}) == 401


async def test_a1_a_browser_from_elsewhere_is_refused_and_one_from_here_may_say_hello_with_its_token(
    platform: Platform,
) -> None:
    token = await platform.token("a1-cid")
    assert await refused(platform, {"Origin": "https://evil.example", "X-Memory-Auth": token}) == 403
    async with connect(platform.ws, origin=platform.http, open_timeout=WAIT) as socket:  # type: ignore[arg-type]
        await socket.send(json.dumps({"type": "hello", "token": token}))
        assert json.loads(await socket.recv())["agent_id"] == "a1-cid"


async def test_a1_a_browser_may_say_little_until_its_token_has_come_and_as_much_as_others_then(
    platform: Platform,
) -> None:
    async with connect(platform.ws, origin=platform.http, open_timeout=WAIT) as socket:  # type: ignore[arg-type]
        await socket.send(json.dumps({"type": "hello", "token": "x" * 40_000}))
        await socket.wait_closed()
        assert socket.close_code == 1009
    async with connect(platform.ws, origin=platform.http, open_timeout=WAIT) as socket:  # type: ignore[arg-type]
        raw = Raw(socket, platform.signed("a1-dee"))
        await raw.hello(token=raw.token)
        told = await raw.ask("memory_update", context_id="main", exchange={"content": "y" * 40_000})
        assert told["type"] == "accepted"


async def test_a1_the_reason_is_in_the_log_and_the_token_is_not(platform: Platform) -> None:
    token = jwt.encode(claims(exp=5, iat=4), Home(platform.data).token_key(), algorithm="HS256")
    log = platform.data / "logs" / "bridge.log"
    before = log.read_text().count('"expired"')
    assert await refused(platform, {"X-Memory-Auth": token}) == 401
    told = await eventually(
        lambda: asyncio.to_thread(log.read_text), lambda text: text.count('"expired"') > before
    )
    assert token not in told


async def test_the_signing_key_is_for_its_owner_alone(platform: Platform) -> None:
    secrets = platform.data / "secrets"
    assert secrets.stat().st_mode & 0o777 == 0o700
    for path in secrets.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


async def test_no_secret_of_the_platform_is_in_its_logs_or_command_lines(platform: Platform) -> None:
    await platform.agent("a1-dan")
    logins = json.loads((platform.data / "secrets" / "nats.json").read_text())
    secrets = [login["password"] for login in logins.values()]
    secrets.append((platform.data / "secrets" / "token.key").read_text().strip())
    told = "".join(path.read_text(errors="replace") for path in (platform.data / "logs").iterdir())
    told += "".join(platform.command_line(pid) for pid in [platform.pid, *platform.children("")])
    told += (platform.data / "platform.json").read_text() + (platform.data / "runtime.json").read_text()
    assert [secret for secret in secrets if secret in told] == []


async def test_a4_a_second_active_connection_is_refused_while_the_first_one_answers(
    platform: Platform,
) -> None:
    first = await platform.agent("a4-ada")
    second = await platform.connect(first.token)
    await second.send_raw({"type": "hello"})
    assert (await second.until("error"))["code"] == "forbidden"
    assert await second.closed() == 4409
    assert (await first.ask("memory_update", context_id="main", exchange={"content": "still here"}))[
        "type"
    ] == "accepted"


async def test_a4_an_observer_beside_it_hears_and_does_not_speak(platform: Platform) -> None:
    await platform.agent("a4-bea")
    observer = await platform.enter(await platform.token("a4-bea"), permission="observer", purpose="observer")
    refusal = await observer.ask("memory_update", context_id="main", exchange={"content": "psst"})
    assert refusal["code"] == "forbidden"
    other = await platform.agent("a4-cid")
    await other.ask("memory_update", context_id="main", exchange={"content": "hello"})
    assert (await observer.until("memory_update"))["exchange"]["content"] == "hello"


async def test_a_resume_with_the_session_replaces_the_old_connection_at_once(platform: Platform) -> None:
    first = await platform.agent("a5-ada")
    second = await platform.connect(first.token)
    welcome = await second.hello(
        resume={"session": first.welcome["session"], "cursor": first.welcome["cursor"]}
    )
    assert welcome["resumed"] and welcome["session"] != first.welcome["session"]
    assert await first.closed() == 4409


async def test_an_old_session_token_is_refused_as_a_hijack(platform: Platform) -> None:
    first = await platform.agent("a5-bea")
    second = await platform.enter(first.token, resume={"session": first.welcome["session"]})
    thief = await platform.connect(first.token)
    await thief.send_raw({"type": "hello", "resume": {"session": first.welcome["session"]}})
    assert await thief.closed() == 4410
    assert (await second.ask("memory_update", context_id="main", exchange={"content": "mine"}))[
        "type"
    ] == "accepted"


async def test_a5_whoever_has_its_session_token_stolen_is_told_and_gets_another_one(
    platform: Platform,
) -> None:
    owner = await platform.agent("a5-robbed")
    stolen = owner.welcome["session"]
    thief = await platform.connect(platform.signed("a5-robber"))
    await thief.send_raw({"type": "hello", "resume": {"session": stolen}})
    assert await thief.closed() == 4410
    warning = await owner.until("error")
    assert (warning["code"], warning["in_reply_to"]) == ("forbidden", None)
    fresh = (await owner.until("session"))["session"]
    assert await until(platform, "session_token_stolen", entity="a5-robbed")
    late = await platform.connect(owner.token)
    await late.send_raw({"type": "hello", "resume": {"session": stolen}})
    assert await late.closed() == 4410
    await owner.settled()
    assert (await platform.enter(owner.token, resume={"session": fresh})).welcome["resumed"]
    assert await owner.closed() == 4409


async def test_a5_a_name_in_an_invented_session_token_alarms_nobody(platform: Platform) -> None:
    owner = await platform.agent("a5-calm")
    thief = await platform.connect(platform.signed("a5-liar"))
    await thief.send_raw({"type": "hello", "resume": {"session": f"{'x' * 43}.main.a5-calm"}})
    assert await thief.closed() == 4410
    assert await until(platform, "session_token_reused", entity="a5-liar")
    await owner.settled()
    assert not [frame for frame in owner.frames if frame["type"] in ("error", "session")]


async def test_a5_a_foreign_session_token_is_refused_to_who_never_had_one(platform: Platform) -> None:
    owner = await platform.agent("a5-cas")
    thief = await platform.connect(platform.signed("a5-new"))
    await thief.send_raw({"type": "hello", "resume": {"session": owner.welcome["session"]}})
    assert await thief.closed() == 4410
    await owner.settled()


async def test_d5_who_comes_from_another_log_is_told_of_the_gap_whatever_session_it_had(
    platform: Platform,
) -> None:
    stranger = await platform.connect(platform.signed("d5-new"))
    welcome = await stranger.hello(resume={"session": "of-a-platform-that-was-lost", "cursor": "00000000.7"})
    assert (welcome["resumed"], welcome["outcome"]) == (False, "gap")
    assert "another log" in welcome["resume_failure"]


@pytest.mark.parametrize(
    "frame", ["{nope", "[]", '{"type":"memory_update"}', '{"type":"hello","permission":"king"}']
)
async def test_a_missing_or_bad_hello_ends_the_connection(platform: Platform, frame: str) -> None:
    agent = await platform.connect(await platform.token("a0-ada"))
    await agent.send_raw(frame)
    await agent.until("error")
    assert await agent.closed() == 4400


async def test_a11_a_first_frame_that_is_not_text_ends_the_connection_like_any_other_bad_hello(
    platform: Platform,
) -> None:
    agent = await platform.connect(await platform.token("a11-bin"))
    await agent.socket.send(b"\x00\x01")
    assert (await agent.until("error"))["code"] == "bad_frame"
    assert await agent.closed() == 4400


async def test_b5_a_binary_frame_gets_a_typed_error_and_the_connection_lives(platform: Platform) -> None:
    agent = await platform.agent("b5-bin")
    await agent.socket.send(b"\x00\x01")
    told = await agent.until("error")
    assert (told["code"], told["in_reply_to"]) == ("bad_frame", None)
    await agent.settled()
