"""The rights in force on a real server: versioned, decided by compare-and-set, followed by everybody."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from backchannel.domain.inforce import ToolNarrowing
from backchannel.errors import BadMessage, Conflict
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.topology import provision
from backchannel.protocol.claims import Claims
from backchannel.service.rights import Rights, RightsInForce


@pytest_asyncio.fixture
async def log(connection: Connection) -> Connection:
    await provision(connection, ["main"])
    return connection


def bearer(issued: int = 100) -> Claims:
    return Claims(
        sub="ada", entity_id="ada", jti="token-1", iat=issued, exp=issued + 100, supervision_level="low"
    )


async def test_a_change_says_who_when_why_and_leaves_the_rest_as_it_is(log: Connection) -> None:
    rights = Rights(log)
    assert await rights.get("main", "ada") is None
    first = await rights.put("main", "ada", by="hugo", reason="too fast", level="high")
    second = await rights.put(
        "main", "ada", by="ina", reason="tool", tools=ToolNarrowing(blocked=("drop",)), expected=1
    )
    assert (first.version, second.version) == (1, 2)
    assert (second.level, second.tools.blocked, second.by) == ("high", ("drop",), "ina")
    assert await rights.get("main", "ada") == second


async def test_of_two_who_decide_on_the_same_version_one_wins(log: Connection) -> None:
    changes = [
        Rights(log).put("main", "ada", by=f"human-{number}", reason="", level="high", expected=0)
        for number in range(6)
    ]
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 5


async def test_a_revocation_never_goes_back_in_time(log: Connection) -> None:
    rights = Rights(log)
    await rights.put("main", "ada", by="hugo", reason="", revoked_before=500)
    later = await rights.put("main", "ada", by="hugo", reason="", revoked_before=400)
    assert later.revoked_before == 500
    assert (await rights.put("main", "ada", by="hugo", reason="", revoked_before=None)).revoked_before == 500


async def test_rights_that_make_no_sense_are_refused(log: Connection) -> None:
    with pytest.raises(BadMessage):
        await Rights(log).put("main", "ada", by="hugo", reason="", level="king")
    with pytest.raises(TypeError):
        await Rights(log).put("main", "ada", by="hugo", reason="", freedom=True)


async def test_a_view_follows_every_change_and_knows_what_was_there_before(log: Connection) -> None:
    rights = Rights(log)
    await rights.put("main", "ada", by="hugo", reason="", level="locked")
    changes: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    view = RightsInForce()
    await view.open(log, lambda group, entity: changes.put_nowait((group, entity)))
    assert await changes.get() == ("main", "ada")
    assert view.effective(bearer()).supervision_level == "locked"
    assert view.why_refused(bearer(), 0) is None
    await rights.put("main", "ada", by="hugo", reason="", level=None)
    assert await changes.get() == ("main", "ada")
    assert view.effective(bearer()).supervision_level == "low"
    await rights.revoke_token("main", "token-1", by="hugo", reason="lost")
    assert await changes.get() == ("main", "")
    assert "revoked" in (view.why_refused(bearer(), 0) or "")
    await view.close()
