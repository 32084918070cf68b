"""`doctor` and `healthcheck`: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backchannel.home import Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from tests.cli.console import Answer, Up
from tests.ports import free_port

Start = Callable[..., Up]
Inside = Callable[..., Answer]


def checks(answer: Answer, outcome: str) -> dict[str, dict[str, Any]]:
    return {found["check"]: found for found in answer.json["checks"] if found["outcome"] == outcome}


@pytest.fixture
def quiet_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual ports may be taken by whatever else runs on the machine that runs the tests."""
    monkeypatch.setattr("cli.machine.USUAL_PORTS", ())


@pytest.mark.usefixtures("quiet_ports")
def test_a_machine_on_which_nothing_runs_yet_is_not_ill(inside: Inside, tmp_path: Path) -> None:
    answer = inside("doctor", "--data", tmp_path / "data", "--json")
    assert (answer.code, answer.json["healthy"]) == (0, True), answer
    assert {"python", "system", "nats-server", "data folder"} <= set(checks(answer, "good"))
    assert {"secrets", "platform"} == set(checks(answer, "skipped"))
    assert not (tmp_path / "data").exists()


def test_the_server_program_is_told_with_path_version_and_checksum(inside: Inside, tmp_path: Path) -> None:
    told = checks(inside("doctor", "--data", tmp_path, "--json"), "good")["nats-server"]["detail"]
    release, _, path, _, checksum = told.replace(",", "").split()
    assert release.startswith("2.15.")
    assert Path(path).is_file()
    assert len(checksum) == 64


def test_a_running_platform_is_looked_at_part_by_part(platform: Up) -> None:
    answer = platform.run("doctor", "--json")
    assert (answer.code, answer.json["healthy"]) == (0, True), answer
    wanted = {"platform", "bridge", "nats", "streams", "handlers", "clock", "secrets"}
    assert wanted <= set(checks(answer, "good"))
    assert "port" not in checks(answer, "bad")


def test_people_get_a_mark_for_each_line(platform: Up) -> None:
    lines = platform.run("doctor").out.splitlines()
    assert lines and all(line[0] in "✓-" for line in lines)


@pytest.mark.usefixtures("quiet_ports")
def test_every_fault_has_a_hint_and_exit_code_7(
    inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Home(tmp_path).token_key()
    (tmp_path / "secrets" / "token.key").chmod(0o644)
    monkeypatch.setenv("BACKCHANNEL_NATS_SERVER", "/nonexistent")
    answer = inside("doctor", "--data", tmp_path, "--json")
    assert (answer.code, answer.json["healthy"]) == (7, False)
    faults = checks(answer, "bad")
    assert set(faults) == {"secrets", "nats-server"}
    assert f"chmod 600 {tmp_path}/secrets/token.key" == faults["secrets"]["hint"]
    assert all(fault["hint"] for fault in faults.values())


def test_a_folder_that_cannot_be_made_is_found(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        answer = inside("doctor", "--data", path, "--json")
        assert answer.code == 7
        assert "data folder" in checks(answer, "bad")


def test_a_port_that_is_taken_is_found(
    inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr("cli.machine.USUAL_PORTS", (other.getsockname()[1],))
        answer = inside("doctor", "--data", tmp_path, "--json")
    assert answer.code == 7
    assert "is not free" in checks(answer, "bad")["port"]["detail"]


def test_a_platform_that_was_killed_is_told_from_one_that_was_stopped(start: Start) -> None:
    up = start()
    assert up.ready
    os.kill(up.pid, signal.SIGKILL)
    up.wait()
    fault = checks(up.run("doctor", "--json"), "bad")["platform"]
    assert "without saying goodbye" in fault["detail"]
    assert "backchannel up" in fault["hint"]


def test_handlers_that_hang_are_found(start: Start) -> None:
    up = start()
    assert up.ready
    os.kill(up.children()["handlers"], signal.SIGSTOP)
    try:
        answer = up.run("doctor", "--json")
    finally:
        os.kill(up.children()["handlers"], signal.SIGCONT)
    assert answer.code == 7
    assert "handlers" in checks(answer, "bad")


async def forget_when_to_forget(data: Path) -> None:
    """Set a stream to another age than it is shipped with."""
    home = Home(data)
    address = Address(home.platform().nats, *home.nats_login("operator"))
    async with await Connection.open(address, name="test") as connection:
        found = await api(connection, "STREAM.INFO.BC_DEAD")
        await api(connection, "STREAM.UPDATE.BC_DEAD", {**found["config"], "max_age": 0})


def test_streams_that_differ_are_found_and_mended(start: Start) -> None:
    up = start()
    assert up.ready
    asyncio.run(forget_when_to_forget(up.data))
    fault = checks(up.run("doctor", "--json"), "bad")["streams"]
    assert fault["detail"] == "BC_DEAD differs in max_age"
    assert fault["hint"] == "backchannel streams apply"
    assert up.run("streams", "apply").out == "changed BC_DEAD: max_age\n"
    assert up.run("doctor").code == 0


def test_healthcheck_says_nothing_and_means_it(platform: Up) -> None:
    for flags in ([], ["--live"], ["--ready"], ["--ready", "--url", platform.ready[0]]):
        assert platform.run("healthcheck", *flags) == Answer(0, "", "")


def test_healthcheck_of_nothing_fails_in_silence(inside: Inside, tmp_path: Path) -> None:
    port = free_port()
    assert inside("healthcheck", "--data", tmp_path) == Answer(5, "", "")
    answer = inside("healthcheck", "--data", tmp_path, "--url", f"http://127.0.0.1:{port}")
    assert answer == Answer(5, "", "")


def test_healthcheck_tells_live_from_ready(start: Start) -> None:
    up = start()
    assert up.ready
    os.kill(up.children()["nats-server"], signal.SIGSTOP)
    try:
        answers = {up.run("healthcheck", "--live").code for _ in range(3)}
    finally:
        os.kill(up.children()["nats-server"], signal.SIGCONT)
    assert answers == {0}
