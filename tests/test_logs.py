"""No secret gets into a log line, however it is written down."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery import token as tokens
from backchannel.logs import LONGEST, configure, redact

TOKEN = tokens.sign(tokens.draft("scout", now=int(time.time()), lifetime=60, jti="1"), b"k" * 32)


def logged(**entry: Any) -> str:
    return json.dumps(redact(None, "info", dict(entry)), default=str)


NAMES = "token Token authorization x_memory_auth X-Memory-Auth password nats_password session session_token"


@pytest.mark.parametrize("name", [*NAMES.split(), "secret", "set-cookie", "nonce"])
def test_what_is_named_like_a_secret_is_not_written(name: str) -> None:
    assert "hunter2" not in logged(**{name: "hunter2"})
    assert "hunter2" not in logged(headers={name: "hunter2"})
    assert "hunter2" not in logged(frames=[{"deep": {name: ["hunter2"]}}])


@pytest.mark.parametrize(
    "text", ["{}", "Bearer {}", "GET /ws?token={} HTTP/1.1", "'{}'", "bearer.{},", "x{}"]
)
def test_a_token_is_recognised_wherever_it_stands(text: str) -> None:
    line = logged(event=text.format(TOKEN), nested=[{"a": text.format(TOKEN)}], error=ValueError(TOKEN))
    assert not any(part in line for part in TOKEN.split("."))


def test_the_login_in_an_address_is_not_written() -> None:
    line = logged(event="cannot reach nats://platform:hunter2@127.0.0.1:4222, trying again")
    assert "hunter2" not in line
    assert "127.0.0.1:4222" in line


def test_ordinary_entries_stay_as_they_are() -> None:
    entry = {"event": "serving", "port": 8002, "groups": ["main"], "late": 0.5, "up": True, "code": None}
    assert redact(None, "info", dict(entry)) == entry


def test_a_line_is_never_endless() -> None:
    for text in ("x" * 1_000_000, "ey" * 500_000, "eyJ." * 250_000):
        assert len(logged(event=text)) < LONGEST + 100


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.just(TOKEN),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), anything))
def test_no_entry_breaks_the_log_or_betrays_a_token(entry: dict[str, Any]) -> None:
    assert TOKEN not in json.dumps(redact(None, "info", entry), default=str)


@pytest.fixture
def configured() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_every_logger_writes_one_json_object_a_line(
    configured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("INFO")
    structlog.get_logger("bridge.test").info("hello", connection_id="abc", token=TOKEN)
    logging.getLogger("uvicorn.error").error("Bearer %s", TOKEN)
    try:
        raise RuntimeError(f"bad {TOKEN}")
    except RuntimeError:
        logging.getLogger("asyncio").exception("boom")
    structlog.get_logger("bridge.test").debug("too quiet to be heard")
    lines = capsys.readouterr().err.splitlines()
    first, second, third = map(json.loads, lines)
    assert (first["event"], first["connection_id"], first["level"]) == ("hello", "abc", "info")
    assert second["event"] == "Bearer [redacted]"
    assert "Traceback" in third["exception"] and "RuntimeError: bad [redacted]" in third["exception"]
    assert TOKEN not in "".join(lines)
