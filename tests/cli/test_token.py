"""`backchannel token create`: a token alone on stdout, and an agent that is known."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from backchannel.delivery.token import verify
from backchannel.home import Home
from backchannel.protocol.claims import Claims
from tests.cli.console import Answer, Up, backchannel


def create(data: Path, *words: str) -> Answer:
    return backchannel("token", "create", *words, "--data", data)


def claims_of(data: Path, *words: str) -> Claims:
    answer = create(data, *words)
    assert answer.code == 0, answer.err
    return verify(answer.out.strip(), Home(data).token_key(), time.time())


def with_claims(tmp_path: Path, content: str) -> Answer:
    (tmp_path / "claims.json").write_text(content)
    return create(tmp_path / "data", "ada", "--claims", str(tmp_path / "claims.json"))


def test_the_token_stands_alone_and_works_before_the_first_up(tmp_path: Path) -> None:
    answer = create(tmp_path / "data", "ada")
    assert answer.out.count("\n") == 1
    assert answer.err == ""
    claims = verify(answer.out.strip(), Home(tmp_path / "data").token_key(), time.time())
    assert (claims.sub, claims.entity_type, claims.collaboration_group) == ("ada", "agent", "main")
    assert claims.exp - claims.iat == 3600
    assert claims.lanes == [] and claims.nonce is None
    assert stat.S_IMODE((tmp_path / "data" / "secrets" / "token.key").stat().st_mode) == 0o600


def test_flags_say_what_is_claimed(tmp_path: Path) -> None:
    flags = ("--type", "human", "--group", "night", "--ttl", "1h30m", "--level", "locked")
    claims = claims_of(tmp_path / "data", "eve", *flags)
    told = (claims.entity_type, claims.collaboration_group, claims.supervision_level, claims.exp - claims.iat)
    assert told == ("human", "night", "locked", 5400)


def test_two_tokens_are_never_the_same(tmp_path: Path) -> None:
    assert claims_of(tmp_path, "ada").jti != claims_of(tmp_path, "ada").jti


def test_a_file_goes_over_the_defaults_and_flags_over_the_file(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {
        "can_spawn_sidebars": False,
        "lanes": ["security_emergency"],
        "tools": {"allowed": ["read_files"], "blocked": ["shell"]},
        "human_partner": "grinnling",
        "supervision_level": "high",
        "team": "blue",
    }
    (tmp_path / "claims.json").write_text(json.dumps(wanted))
    flags = ("--claims", str(tmp_path / "claims.json"), "--level", "low")
    claims = claims_of(tmp_path / "data", "ada", *flags)
    assert claims.supervision_level == "low"
    assert (claims.can_spawn_sidebars, claims.can_access_memory) == (False, True)
    assert claims.lanes == ["security_emergency"]
    assert claims.tools.blocked == ["shell"]
    assert claims.model_dump()["team"] == "blue"


@pytest.mark.parametrize("entity", ["a.b", "*", ">", "", "-x", "ä", "a b", "a" * 65, "../x"])
def test_a_name_that_is_no_subject_token_is_wrong_usage(tmp_path: Path, entity: str) -> None:
    answer = create(tmp_path / "data", "--", entity)
    assert (answer.code, answer.out) == (2, "")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("ttl", ["", "0", "-1h", "1y", "h", "99999999d", "1h 30m", "1.5h", "nan"])
def test_a_lifetime_that_is_none_is_wrong_usage(tmp_path: Path, ttl: str) -> None:
    answer = create(tmp_path / "data", "ada", f"--ttl={ttl}")
    assert (answer.code, answer.out) == (2, "")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"lanes": ["express"]}',
        '{"sub": "bob"}',
        '{"entity_id": "bob"}',
        '{"exp": "soon"}',
        '{"aud": "others"}',
        '{"tools": {"allowed": ["a.b"]}}',
        '{"can_spawn_sidebars": "yes"}',
        '{"nonce": "x"}',
        "[" * 100_000,
    ],
)
def test_claims_that_cannot_be_are_wrong_usage(tmp_path: Path, content: str) -> None:
    answer = with_claims(tmp_path, content)
    assert (answer.code, answer.out) == (2, ""), answer
    assert "Traceback" not in answer.err


def test_a_file_of_claims_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert create(tmp_path / "data", "ada", "--claims", str(tmp_path / "none.json")).code == 2


def test_a_file_of_claims_may_come_through_a_pipe(tmp_path: Path) -> None:
    words = ("token", "create", "ada", "--claims", "-", "--data", str(tmp_path), "--json")
    answer = backchannel(*words, given='{"nonce": "once-and-never-again"}')
    assert answer.json["claims"]["nonce"] == "once-and-never-again"


def test_a_token_that_has_expired_already_is_made_and_said_to_be(tmp_path: Path) -> None:
    answer = with_claims(tmp_path, '{"iat": 5, "exp": 10}')
    assert answer.code == 0
    assert "expired already" in answer.err


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = create(tmp_path / "file" / "data", "ada")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: The data folder")


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    Home(tmp_path).token_key()
    (tmp_path / "secrets" / "token.key").chmod(0o644)
    answer = create(tmp_path, "ada")
    assert (answer.code, answer.out) == (1, "")
    assert "chmod 600" in answer.err


def test_whoever_was_named_while_the_platform_was_down_is_known_to_it_afterwards(
    tmp_path: Path, start: Any
) -> None:
    data = tmp_path / "data"
    for name in ("ada", "bob"):
        assert create(data, name).code == 0
    assert create(data, "ada", "--type", "service").code == 0
    up: Up = start(data=data)
    assert up.ready
    found = {agent["agent_id"]: agent for agent in up.run("agents", "ls", "--json").json}
    assert set(found) == {"ada", "bob"}
    assert found["ada"]["entity_type"] == "service"
    assert not found["ada"]["online"]
    assert Home(data).known() == []


def test_whoever_is_named_while_the_platform_runs_is_known_at_once(platform: Up) -> None:
    assert platform.run("token", "create", "carol", "--group", "night").code == 0
    agents = platform.run("agents", "ls", "--group", "night", "--json").json
    assert [agent["agent_id"] for agent in agents] == ["carol"]
    assert Home(platform.data).known() == []


def test_without_a_data_folder_the_key_comes_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("A" * 43)
    env = {"BACKCHANNEL_NATS_URL": "nats://127.0.0.1:1", "BACKCHANNEL_TOKEN_KEY_FILE": str(tmp_path / "key")}
    answer = backchannel("token", "create", "ada", env=env, cwd=tmp_path)
    assert answer.code == 0
    assert verify(answer.out.strip(), bytes(32), time.time()).sub == "ada"
    assert "becomes known at its first connection" in answer.err
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]
