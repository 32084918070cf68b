"""A2 and A10 by the command line: keys that rotate, tokens inspected and revoked, agents sent away."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.eventually import eventually
from tests.promises.running import BACKCHANNEL, Platform
from tests.promises.test_f5_audit import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def status_of(platform: Platform, token: str) -> int:
    """How the door answers to a token: 101 if it is believed."""
    try:
        await platform.connect(token)
    except InvalidStatus as refusal:
        return refusal.response.status_code
    return 101


async def inspected(platform: Platform, token: str) -> tuple[int, dict[str, Any]]:
    """`token inspect -`, the token on standard input."""
    command = await asyncio.create_subprocess_exec(
        *(BACKCHANNEL, "token", "inspect", "-", "--json", "--data", str(platform.data)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await command.communicate(token.encode())
    assert command.returncode is not None
    assert not token or token.encode() not in out
    return command.returncode, json.loads(out)


async def test_a2_after_a_rotation_old_tokens_stand_and_new_ones_count_at_once_on_a_running_bridge(
    platform: Platform,
) -> None:
    ada = await platform.enter(await platform.token("a2-ada"))
    before = await platform.json("token", "rotate-key")
    assert await status_of(platform, ada.token) == 101
    fresh = await platform.token("a2-ada")
    assert await status_of(platform, fresh) == 101
    assert (await inspected(platform, ada.token))[1]["key"] == before["former"][0]["kid"]
    assert (await inspected(platform, fresh))[1]["key"] == before["kid"]
    await ada.settled()


async def test_a2_a_key_that_is_retired_takes_its_tokens_and_live_connections_with_it(
    platform: Platform,
) -> None:
    bea = await platform.enter(await platform.token("a2-bea"))
    await platform.json("token", "rotate-key", "--retire-now")
    assert await bea.closed() == 4403
    assert await status_of(platform, bea.token) == 401
    assert await status_of(platform, await platform.token("a2-bea")) == 101
    code, told = await inspected(platform, bea.token)
    assert (code, told["status"], told["claims"]) == (7, "refused", None)


async def test_a2_a_key_file_open_to_others_is_not_read_and_locks_nobody_out(platform: Platform) -> None:
    token = await platform.token("a2-cid")
    path = platform.data / "secrets" / "token.key"
    path.chmod(0o644)
    try:
        assert await status_of(platform, token) == 101
        code, _, err = await platform.run("token", "create", "a2-cid")
        assert code != 0 and "chmod 600" in err
    finally:
        path.chmod(0o600)
    os.utime(path)
    assert await status_of(platform, token) == 101


async def test_a2_inspect_says_what_a_token_is_worth_and_never_repeats_a_secret(platform: Platform) -> None:
    nonce = "a-nonce-nobody-should-see"
    code, told = await inspected(platform, platform.signed("a2-dan", nonce=nonce))
    assert (code, told["status"], told["one_use"]) == (0, "valid", True)
    assert told["claims"]["sub"] == "a2-dan" and nonce not in json.dumps(told)
    code, told = await inspected(platform, platform.signed("a2-dan", exp=1_700_000_000, iat=1_600_000_000))
    assert (code, told["status"]) == (7, "expired") and told["claims"]["sub"] == "a2-dan"
    code, told = await inspected(platform, platform.signed("a2-dan", collaboration_group="elsewhere"))
    assert (code, told["status"]) == (7, "revoked") and "elsewhere" in told["why"]
    for forged in (platform.signed("a2-dan")[:-3] + "abc", "garbage", ""):
        code, told = await inspected(platform, forged)
        assert (code, told["status"], told["claims"]) == (7, "refused", None)


async def test_a10_a_revoked_entity_is_out_at_once_and_in_again_with_a_new_token(platform: Platform) -> None:
    eve = await platform.enter(await platform.token("a10-eve"))
    other = await platform.enter(await platform.token("a10-fay"))
    (told,) = await platform.json("token", "revoke", "a10-eve", "--reason", "left the team")
    assert (told["version"], told["reason"], told["by"]) == (1, "left the team", "operator")
    assert await eve.closed() == 4403
    assert await status_of(platform, eve.token) == 401
    assert (await inspected(platform, eve.token))[1]["status"] == "revoked"
    assert await status_of(platform, await platform.token("a10-eve")) == 101
    await other.settled()


async def test_a10_one_token_is_revoked_by_its_id_and_the_others_of_its_bearer_stand(
    platform: Platform,
) -> None:
    lost, kept = platform.signed("a10-gil", jti="lost/*>.token"), platform.signed("a10-gil")
    gil = await platform.enter(lost)
    await platform.json("token", "revoke", "--jti", "lost/*>.token")
    assert await gil.closed() == 4403
    assert await status_of(platform, lost) == 401
    assert await status_of(platform, kept) == 101


async def test_a10_who_is_kicked_stays_away_for_a_while_and_may_come_back_then(platform: Platform) -> None:
    token = await platform.token("a10-hal")
    hal = await platform.enter(token)
    await platform.json("agents", "kick", "a10-hal", "--for", "10m")
    assert await hal.closed() == 4403
    for good in (token, await platform.token("a10-hal")):
        assert await status_of(platform, good) == 403  # not 401: no other token would help
    await platform.json("agents", "kick", "a10-hal", "--for", "1s")
    await eventually(lambda: status_of(platform, token), lambda status: status == 101, pause=0.2)


async def test_a8_what_an_agent_says_of_itself_is_shown_with_its_rights_and_is_on_record(
    platform: Platform,
) -> None:
    intake = {"specialties": ["debugging"], "availability": "busy", "preferred_collaborators": ["a8-bea"]}
    quality = {"slow_connection": "critical_only", "required_data": ["mentions"]}
    await platform.enter(platform.signed("a8-ada"), intake=intake, quality=quality)
    shown = await platform.json("agents", "show", "a8-ada")
    assert {name: shown[name] for name in intake} == intake
    assert quality.items() <= shown["quality"].items() and shown["online"] and shown["rights"] is None
    assert (await platform.run("agents", "show", "a8-nobody"))[0] == 3
    introduced = await until(platform, "introduced", entity="a8-ada")
    assert introduced["facts"]["specialties"] == ["debugging"]
    assert quality.items() <= introduced["facts"]["quality"].items()


async def test_a10_what_operators_do_to_tokens_is_on_record(platform: Platform) -> None:
    await platform.token("a10-ina")
    await platform.json("token", "revoke", "a10-ina", "--reason", "test")
    records = await platform.json("audit", "tail", "--entity", "a10-ina")
    (revoked,) = [record for record in records if record["action"] == "tokens_revoked"]
    assert (revoked["facts"]["by"], revoked["facts"]["reason"]) == ("operator", "test")
