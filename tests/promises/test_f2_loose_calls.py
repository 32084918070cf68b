"""F2: a chain is limited also where nobody says that there is one, if the token sets a limit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.promises.running import Frame, Platform, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def decided(raw: Raw, **fields: Any) -> Frame:
    sent = await raw.send("tool_request", **{"tool": "web_search", "params": {}, **fields})
    return await raw.find(lambda f: f["type"] == "tool_decision" and f["request_id"] == sent["message_id"])


async def agent(platform: Platform, name: str, **chains: Any) -> Raw:
    held = {
        "supervision_level": "autonomous",
        "tools": {"allowed": ["web_search"]},
        "human_supervisor": "hugo",
    }
    return await platform.enter(platform.signed(name, **held, **({"tool_chains": chains} if chains else {})))


async def test_f2_who_names_no_chain_or_a_new_one_each_time_gets_no_farther_than_its_token_says(
    platform: Platform,
) -> None:
    for name, ids in (
        ("silent", lambda n: {}),
        ("tracer", lambda n: {"trace_id": f"trace-{n}"}),
        ("chainer", lambda n: {"chain_id": f"run-{n}"}),
        ("causer", lambda n: {"causation_id": f"made-up-{n}"}),
        (
            "mixer",
            lambda n: [{}, {"trace_id": f"t-{n}"}, {"chain_id": f"r-{n}"}, {"causation_id": "x"}][n % 4],
        ),
    ):
        ada = await agent(platform, name, max_chain_length=2)
        told = [await decided(ada, **ids(number)) for number in range(4)]
        assert [one["decision"] for one in told] == ["approved"] * 2 + ["pending"] * 2, name
        assert "chain" in told[2]["reason"], told[2]


async def test_f2_an_agent_that_was_set_no_limit_makes_as_many_independent_calls_as_it_likes(
    platform: Platform,
) -> None:
    ada = await agent(platform, "busy")
    for fields in (*[{}] * 12, *({"trace_id": f"task-{n}"} for n in range(12))):
        assert (await decided(ada, **fields))["decision"] == "approved"


async def test_f2_what_a_human_approves_does_not_lengthen_what_goes_on_unasked(platform: Platform) -> None:
    ada = await agent(platform, "approved", max_chain_length=2)
    hugo = await platform.enter(platform.signed("hugo", entity_type="human"))
    ids = [(await decided(ada))["request_id"] for _ in range(3)]
    told = await hugo.result("approval_response", request_id=ids[2], approved=True, reason="go on")
    assert told["status"] == "success"
    assert (await decided(ada))["decision"] == "pending"


async def test_f2_calls_of_a_chain_that_is_named_are_counted_by_that_chain(platform: Platform) -> None:
    ada = await agent(platform, "named", max_chain_length=3, allowed_chains=["research"])
    told = [await decided(ada, chain="research", chain_id="run") for _ in range(3)]
    told += [await decided(ada) for _ in range(4)]
    assert [one["decision"] for one in told] == ["approved"] * 6 + ["pending"]
