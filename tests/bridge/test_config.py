"""Settings come from the environment, and a wrong one is said by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from backchannel.errors import BadMessage
from backchannel.home import Home
from backchannel.home.variables import bearer_tokens
from backchannel.service.trust import Trust
from bridge.config import Config


def test_without_variables_the_defaults_hold() -> None:
    assert Config().with_environment({}) == Config()
    assert Config().with_environment({"BACKCHANNEL_MAX_CONNECTIONS": "", "PATH": "/bin"}) == Config()


def test_a_variable_changes_its_field_and_no_other() -> None:
    changed = Config().with_environment(
        {
            "BACKCHANNEL_MAX_CONNECTIONS": "20000",
            "BACKCHANNEL_HEARTBEAT_SECONDS": "12.5",
            "BACKCHANNEL_ALLOWED_ORIGINS": "https://a.example, https://b.example,",
        }
    )
    assert changed == Config(
        max_connections=20_000,
        heartbeat_seconds=12.5,
        allowed_origins=("https://a.example", "https://b.example"),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MAX_CONNECTIONS", "many"),
        ("MAX_CONNECTIONS", "-1"),
        ("MAX_CONNECTIONS", "1.5"),
        ("HEARTBEAT_SECONDS", "nan"),
        ("HEARTBEAT_SECONDS", "inf"),
        ("HEARTBEAT_SECONDS", "0"),
        ("CLOSE_SECONDS", "-0.1"),
        ("BEARER_TOKENS", "perhaps"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(BadMessage) as refused:
        Config().with_environment({f"BACKCHANNEL_{name}": text})
    assert refused.value.field == f"BACKCHANNEL_{name}"
    assert repr(text) in refused.value.message


@pytest.mark.parametrize("text", ["", "true", "Yes", "1", "false", "NO", "0"])
def test_both_doors_read_the_same_of_whether_bearer_tokens_are_believed(text: str, tmp_path: Path) -> None:
    env = {"BACKCHANNEL_BEARER_TOKENS": text}
    trust = Trust.of(Home(tmp_path / "home"), env)
    assert trust is not None and trust.nonce_needed is not bearer_tokens(env)
    assert Config().with_environment(env).bearer_tokens is bearer_tokens(env)


def test_neither_door_opens_on_a_word_that_says_neither_yes_nor_no(tmp_path: Path) -> None:
    env = {"BACKCHANNEL_BEARER_TOKENS": "perhaps"}
    for read in (lambda: Trust.of(Home(tmp_path / "home"), env), lambda: Config().with_environment(env)):
        with pytest.raises(BadMessage, match="must be true or false"):
            read()
