"""Nobody bears a name of the platform's own parts, in whatever case and by whichever door."""

from __future__ import annotations

import re
from pathlib import Path

import nats.errors
import pytest
from websockets.exceptions import InvalidStatus

from backchannel.home.settings import ROLES
from backchannel.protocol.identifier import RESERVED_NAMES, is_reserved
from tests.eventually import eventually
from tests.promises.http import fetch
from tests.promises.native import Native
from tests.promises.running import Platform

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(RESERVED_NAMES)


def named_in_configurations() -> set[str]:
    text = "".join(path.read_text() for path in (ROOT / "nats").glob("*.conf"))
    return set(re.findall(r'user: "([^"$]+)"', text))


def callers() -> set[str]:
    """Whom the platform's own code names as the one who asks, where no agent does."""
    sources = [path.read_text() for folder in ("bridge", "cli") for path in (ROOT / folder).glob("*.py")]
    found = r'"Bc-Caller": "(\w+)"|^CALL\w+ = "(\w+)"'
    return {"".join(groups) for text in sources for groups in re.findall(found, text, re.MULTILINE)}


async def test_every_login_of_a_nats_server_and_every_caller_of_the_platforms_own_is_reserved() -> None:
    used = named_in_configurations() | set(ROLES) | callers()
    assert {"bridge", "handlers", "steward", "operator", "system", "route", "callback"} <= used
    assert used <= RESERVED_NAMES
    assert all(is_reserved(spelled) for name in used for spelled in (name, name.upper(), name.title()))
    assert not any(is_reserved(name) for name in ("ada", "bridget", "platform-1", "my-operator"))


@pytest.mark.parametrize("name", NAMES)
async def test_no_door_lets_in_who_bears_a_name_of_the_platforms_own(platform: Platform, name: str) -> None:
    for spelled in (name, name.upper()):
        token = platform.signed(spelled)
        with pytest.raises(InvalidStatus, match="401"):
            await platform.connect(token)
        answer = await fetch(
            f"{platform.http}/store", {"type": "memory_update"}, Authorization=f"Bearer {token}"
        )
        assert answer.status == 401 and spelled not in answer.body
        with pytest.raises((nats.errors.Error, OSError)):
            await Native.enter(platform.nats, spelled, token)


@pytest.mark.parametrize("name", ["steward", "System", "callback"])
async def test_no_token_is_made_for_a_name_of_the_platforms_own(platform: Platform, name: str) -> None:
    code, out, err = await platform.run("token", "create", name)
    assert (code, out) == (4, "") and name in err and "the platform's own" in err


async def test_the_log_says_why_and_the_caller_is_not_told(platform: Platform) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await platform.connect(platform.signed("Steward"))
    assert b"Steward" not in (refusal.value.response.body or b"")
    log = platform.data / "logs" / "bridge.log"

    async def told() -> bool:
        return "'Steward', a name that is the platform's own" in log.read_text("utf-8")

    assert await eventually(told, bool)


async def test_a_connection_cannot_be_renewed_to_a_name_of_the_platforms_own(platform: Platform) -> None:
    ada = await platform.agent("reserved-ada")
    answer = await ada.result("renew", token=platform.signed("bridge"))
    assert answer["type"] == "error" or answer["status"] != "success"


async def test_nobody_of_such_a_name_can_be_called_or_invited(platform: Platform) -> None:
    ada = await platform.agent("reserved-bea")
    for name in ("steward", "bridge", "callback"):
        answer = await ada.result(
            "sidebar_spawn", parent_id="main", task_description="x", participants=[name]
        )
        assert answer["code"] == "unknown_agent", answer
