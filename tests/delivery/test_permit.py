"""What a token and a connection allow, before anything else is asked."""

from __future__ import annotations

from typing import Any

import pytest

from backchannel.delivery.permit import Permission, check
from backchannel.errors import BackchannelError, Forbidden, WrongSender
from backchannel.protocol.catalog import KINDS
from backchannel.protocol.claims import Claims
from backchannel.protocol.message import Way
from tests.build import message


def claims(**fields: Any) -> Claims:
    times = {"iat": 0, "exp": 10**9}
    return Claims.model_validate({"sub": "ada", "entity_id": "ada", "jti": "t1", **times, **fields})


def refusal(kind: str, permission: Permission = "active", sender: str | None = None, **fields: Any) -> Any:
    try:
        check(message(kind, **({"sender_agent_id": sender} if sender else {})), claims(**fields), permission)
    except BackchannelError as error:
        return type(error)
    return None


@pytest.mark.parametrize("kind", [name for name, one in KINDS.items() if one.way is not Way.PLATFORM])
def test_nobody_speaks_in_another_name(kind: str) -> None:
    assert refusal(kind, sender="bob") is WrongSender


@pytest.mark.parametrize("kind", [name for name, one in KINDS.items() if one.way is Way.PLATFORM])
def test_what_only_the_platform_says_is_refused(kind: str) -> None:
    assert refusal(kind) is Forbidden


@pytest.mark.parametrize("kind", [name for name, one in KINDS.items() if one.way is not Way.PLATFORM])
def test_an_observer_asks_and_arranges_and_says_nothing(kind: str) -> None:
    stores = KINDS[kind].way in (Way.STATELESS, Way.STATEFUL)
    assert refusal(kind, "observer", lanes=["security_emergency", "critical_failure"]) is (
        Forbidden if stores else None
    )


@pytest.mark.parametrize("kind", ["sidebar_spawn", "sidebar_child_spawn", "sidebar_fork"])
def test_a_token_may_forbid_spawning(kind: str) -> None:
    assert refusal(kind) is None
    assert refusal(kind, can_spawn_sidebars=False) is Forbidden


def test_a_token_may_forbid_memory() -> None:
    assert refusal("memory_update") is None
    assert refusal("memory_update", can_access_memory=False) is Forbidden
    assert refusal("query", can_access_memory=False) is Forbidden
    assert refusal("sidebar_message", can_access_memory=False) is None


@pytest.mark.parametrize("kind", ["security_emergency", "critical_failure"])
def test_the_top_lanes_need_a_token_that_names_them(kind: str) -> None:
    other = {"security_emergency": "critical_failure", "critical_failure": "security_emergency"}[kind]
    assert refusal(kind) is Forbidden
    assert refusal(kind, lanes=[other]) is Forbidden
    assert refusal(kind, lanes=[kind]) is None
