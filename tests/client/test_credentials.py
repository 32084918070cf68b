from __future__ import annotations

import time
from pathlib import Path

import pytest

from backchannel.client.credentials import find
from backchannel.delivery.token import verify
from backchannel.errors import Forbidden
from backchannel.home import Home, NotRunning, Platform

KEY = b"k" * 32
PLATFORM = Platform(
    1, "ws://here/ws", "http://here", "nats://here", ("main",), "here", 1, "2026-01-31T12:00:00Z"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The data folder of a platform that serves."""
    found = Home(tmp_path / "data")
    found.create()
    found.set_platform(PLATFORM)
    return found


async def test_what_is_given_wins_over_the_environment(home: Home) -> None:
    env = {"BACKCHANNEL_URL": "ws://env/ws", "BACKCHANNEL_TOKEN": "env", "BACKCHANNEL_DATA": str(home.path)}
    given = find("ada", url="ws://given/ws", token="given", env=env)
    assert (given.url(), await given.token(fresh=False)) == ("ws://given/ws", "given")
    found = find("ada", env=env)
    assert (found.url(), await found.token(fresh=False)) == ("ws://env/ws", "env")


async def test_a_named_data_folder_wins_over_the_environment(home: Home) -> None:
    env = {"BACKCHANNEL_URL": "ws://env/ws", "BACKCHANNEL_TOKEN": "env"}
    found = find("ada", data=home.path, env=env)
    assert found.url() == PLATFORM.ws
    assert verify(await found.token(fresh=False), home.token_key(), time.time()).sub == "ada"


async def test_every_signed_token_is_a_new_one_of_the_group(home: Home) -> None:
    env = {"BACKCHANNEL_DATA": str(home.path), "BACKCHANNEL_GROUP": "red"}
    found = find("ada", env=env)
    first, second = [verify(await found.token(fresh=True), home.token_key(), time.time()) for _ in range(2)]
    assert first.jti != second.jti
    assert first.collaboration_group == "red"


async def test_a_key_may_be_given(tmp_path: Path) -> None:
    found = find("ada", url="ws://there/ws", key=KEY, env={"BACKCHANNEL_DATA": str(tmp_path)})
    assert verify(await found.token(fresh=False), KEY, time.time()).sub == "ada"


async def test_a_platform_that_moves_is_found_where_it_is(home: Home) -> None:
    found = find("ada", data=home.path, env={})
    home.forget_platform()
    with pytest.raises(NotRunning, match="backchannel up"):
        found.url()
    home.set_platform(PLATFORM)
    assert found.url() == PLATFORM.ws


def test_where_nothing_ever_ran_that_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="backchannel up"):
        find("ada", data=tmp_path / "nowhere", env={})
    assert not (tmp_path / "nowhere").exists()


def test_an_address_without_any_token_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match="BACKCHANNEL_TOKEN"):
        find("ada", url="ws://there/ws", env={"BACKCHANNEL_DATA": str(tmp_path / "nowhere")})
    assert not (tmp_path / "nowhere").exists()


async def test_a_source_of_tokens_that_fails_is_one_sentence() -> None:
    def broken() -> str:
        raise KeyError("vault")

    with pytest.raises(Forbidden, match="vault"):
        await find("ada", url="ws://there/ws", token=broken, env={}).token(fresh=False)


def test_a_token_is_not_shown_by_repr() -> None:
    assert "secret" not in repr(find("ada", url="ws://there/ws", token="secret", env={}))
