"""`backchannel up`: everything in one command, what dies comes back, and it ends when it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backchannel.home import Home
from backchannel.jetstream.binary import find
from tests.cli.console import Answer, Up, backchannel
from tests.ports import free_port

Start = Callable[..., Up]
Inside = Callable[..., Answer]
PATIENCE = 60.0


def eventually(check: Callable[[], object]) -> None:
    """Until `check` gives something true, or PATIENCE is over."""
    end = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        return (Path(f"/proc/{pid}") / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def held(path: Path) -> bytes:
    """What lies there; nothing where a server has replaced its file meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def healthy(http: str) -> bool:
    try:
        with urllib.request.urlopen(f"{http}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def free() -> int:
    return free_port()


def test_the_ready_line_stands_alone_and_every_address_serves(platform: Up) -> None:
    up = platform
    ws, http, nats = up.ready
    assert len(up.out) == 1
    assert ws == f"ws://{http.removeprefix('http://')}/ws"
    assert healthy(http)
    host, _, port = nats.removeprefix("nats://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as found:
        assert found.recv(5) == b"INFO "
    told = Home(up.data).platform()
    assert (told.pid, told.ws, told.http, told.nats, told.groups) == (
        up.pid,
        ws,
        http,
        nats,
        ("main", "night"),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_in_order_and_exits_with_0(start: Start, number: signal.Signals) -> None:
    up = start()
    assert up.ready
    children = up.children()
    assert set(children) == {"nats-server", "bridge", "handlers"}
    assert up.signal(number).wait() == 0
    assert not any(map(alive, children.values()))
    assert not (up.data / "platform.json").exists()
    assert not Home(up.data).serving()
    assert len(up.out) == 1
    assert "Traceback" not in "".join(up.err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_loaded_ends_it_in_order_too(tmp_path: Path, number: signal.Signals) -> None:
    script = """
import importlib, signal, sys
import cli.main
real, (_, data, number) = importlib.import_module, sys.argv
def loading(name, package=None):
    importlib.import_module = real
    signal.raise_signal(int(number))
    return real(name, package)
importlib.import_module = loading
sys.argv = ["backchannel", "up", "--data", data, "--port", "0", "--nats-port", "0"]
cli.main.main()
"""
    words = [sys.executable, "-c", script, str(tmp_path / "data"), str(int(number))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "stopping" in done.stderr


def test_a_signal_while_it_starts_leaves_nothing_behind(start: Start) -> None:
    up = start()
    eventually(lambda: "nats-server" in up.children() or up.out)
    children = up.children()
    assert up.stop() == 0
    assert not any(map(alive, children.values()))


def test_a_second_signal_does_not_wait(start: Start) -> None:
    up = start()
    assert up.ready
    children = up.children()
    os.kill(children["handlers"], signal.SIGSTOP)  # this one cannot end by itself
    os.kill(children["bridge"], signal.SIGSTOP)
    up.signal(signal.SIGTERM).said("stopping")
    up.signal(signal.SIGTERM)
    assert up.wait() in (0, 130)
    assert not any(map(alive, children.values()))


@pytest.mark.parametrize("name", ["bridge", "handlers", "nats-server"])
def test_what_is_killed_comes_back_on_the_same_address(start: Start, name: str) -> None:
    up = start()
    addresses = up.ready
    killed = up.children()[name]
    os.kill(killed, signal.SIGKILL)
    assert "starting it again" in up.said(f"{name} was ended by SIGKILL")
    eventually(lambda: up.children().get(name) not in (None, killed))
    eventually(lambda: healthy(addresses[1]))
    eventually(lambda: up.run("status").code == 0)
    assert [up.ready, len(up.out)] == [addresses, 1]
    assert up.stop() == 0


def test_kill_9_takes_everything_with_it_and_the_next_up_finds_what_was_stored(start: Start) -> None:
    up = start()
    assert up.ready
    assert up.run("token", "create", "ada").code == 0
    children = up.children()
    os.kill(up.pid, signal.SIGKILL)
    up.wait()
    eventually(lambda: not any(map(alive, children.values())))
    assert up.run("status").code == 5
    again = start(data=up.data)
    assert again.ready
    assert [agent["agent_id"] for agent in again.run("agents", "ls", "--json").json] == ["ada"]


def test_a_folder_serves_one_platform_and_the_second_says_who_has_it(start: Start) -> None:
    up = start()
    assert up.ready
    second = backchannel("up", "--data", up.data, "--port", "0", "--nats-port", "0")
    assert (second.code, second.out) == (1, "")
    assert f"process {up.pid}" in second.err
    assert up.run("status").code == 0


def test_several_bridges_share_the_port_and_several_groups_the_handlers(start: Start) -> None:
    up = start("--bridges", "2", "--handlers", "2", "--groups", "main,night")
    assert healthy(up.ready[1])
    logs = {path.name for path in (up.data / "logs").iterdir()}
    assert {"bridge-1.log", "bridge-2.log", "handlers-1.log", "handlers-2.log"} <= logs
    groups = up.run("status", "--json").json["groups"]
    assert [group["group"] for group in groups] == ["main", "night"]


def test_no_process_and_no_log_shows_a_secret(platform: Up) -> None:
    up = platform
    home = Home(up.data)
    secrets = [str(home.nats_login(role)[1]) for role in ("platform", "operator", "system")]
    secrets.append((home.secrets / "token.key").read_text().strip())
    assert up.run("token", "create", "ada").code == 0
    shown = [Path(f"/proc/{pid}/cmdline").read_text() for pid in [up.pid, *up.children().values()]]
    kept = [path for path in up.data.rglob("*") if path.is_file() and path.parent != home.secrets]
    shown += [held(path).decode("latin-1") for path in kept]
    shown += [*up.out, *up.err]
    assert [secret for secret in secrets for text in shown if secret in text] == []


def test_json_gives_the_addresses_as_one_document(start: Start) -> None:
    up = start("--json")
    told = json.loads(up.said('"ready"', up.out))
    assert (told["ready"], told["pid"]) == (True, up.pid)
    assert healthy(told["http"])


def test_who_opens_it_to_others_is_warned(start: Start) -> None:
    up = start("--host", "0.0.0.0")
    assert up.ready[0].startswith("ws://127.0.0.1:")
    assert "0.0.0.0 can be reached from other machines" in up.said("warning:")


def test_a_server_that_runs_already_is_used_and_its_login_kept_as_a_secret(
    start: Start, tmp_path: Path
) -> None:
    below = start(data=tmp_path / "below")
    nats = below.ready[2]
    user, password = Home(below.data).nats_login("platform")
    up = start("--nats", nats.replace("nats://", f"nats://{user}:{password}@"), data=tmp_path / "above")
    assert up.ready[2] == nats
    assert set(up.children()) == {"bridge", "handlers"}
    assert up.run("status").code == 0
    holders = [
        path.name
        for path in up.data.rglob("*")
        if path.is_file() and str(password) in held(path).decode("utf-8", "replace")
    ]
    assert holders == ["nats.json"]
    for child in up.children().values():
        assert str(password) not in Path(f"/proc/{child}/cmdline").read_text()
        assert str(password) not in Path(f"/proc/{child}/environ").read_text()
    assert up.stop() == 0
    assert below.run("status").code == 0


def test_a_login_may_come_from_a_file(start: Start, tmp_path: Path) -> None:
    below = start(data=tmp_path / "below")
    nats = below.ready[2]
    user, password = Home(below.data).nats_login("platform")
    (tmp_path / "password").write_text(str(password))
    env = {
        "BACKCHANNEL_NATS_URL": nats,
        "BACKCHANNEL_NATS_USER": str(user),
        "BACKCHANNEL_NATS_PASSWORD_FILE": str(tmp_path / "password"),
    }
    assert start(data=tmp_path / "above", env=env).ready[2] == nats


def test_a_wrong_secret_is_refused_with_one_sentence(start: Start, inside: Inside, tmp_path: Path) -> None:
    nats = start(data=tmp_path / "below").ready[2]
    url = nats.replace("nats://", "nats://platform:wrong-secret@")
    answer = inside("up", "--data", tmp_path / "above", "--port", "0", "--nats", url)
    assert (answer.code, answer.out) == (4, "")
    assert "refuses the user platform" in answer.err
    assert "wrong-secret" not in answer.err


def test_a_server_that_is_not_there_is_unreachable(inside: Inside, tmp_path: Path, free: int) -> None:
    answer = inside("up", "--data", tmp_path / "data", "--port", "0", "--nats", f"nats://127.0.0.1:{free}")
    assert (answer.code, answer.out) == (5, "")
    assert f"nats://127.0.0.1:{free}" in answer.err


@pytest.mark.parametrize("flag", ["--port", "--nats-port"])
def test_a_taken_port_is_one_sentence_that_names_the_flag(
    inside: Inside, tmp_path: Path, taken: int, flag: str
) -> None:
    other = {"--port": "--nats-port", "--nats-port": "--port"}[flag]
    answer = inside("up", "--data", tmp_path / "data", flag, str(taken), other, "0")
    assert (answer.code, answer.out) == (1, "")
    assert f"Port {taken} on 127.0.0.1 is taken" in answer.err
    assert flag in answer.err
    assert not Home(tmp_path / "data").serving()


def test_a_host_that_is_not_ours_is_one_sentence(inside: Inside, tmp_path: Path) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        answer = inside("up", "--data", tmp_path / "data", "--port", "0", "--nats-port", "0", "--host", host)
        assert (answer.code, answer.out) == (1, "")
        assert host in answer.err


def test_a_folder_that_cannot_be_written_is_one_sentence(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = inside("up", "--data", tmp_path / "file" / "data", "--port", "0", "--nats-port", "0")
    assert (answer.code, answer.out) == (1, "")
    assert "Choose another with --data DIR" in answer.err


@pytest.mark.parametrize("name", ["lock", "logs", "nats", "logs/up.log", "logs/bridge.log", "runtime.json"])
def test_a_room_of_the_folder_that_is_something_else_is_one_sentence(
    inside: Inside, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "data" / name
    if name in ("logs", "nats"):
        path.parent.mkdir(parents=True)
        path.touch()
    else:
        path.mkdir(parents=True)
    answer = inside("up", "--data", tmp_path / "data", "--port", "0", "--nats-port", "0")
    assert (answer.code, answer.out) == (1, ""), answer
    assert answer.err.splitlines()[-1].startswith(("error: The ", "error: /")), answer
    assert "unexpected" not in answer.err


def test_a_server_without_jetstream_is_one_sentence(inside: Inside, tmp_path: Path, free: int) -> None:
    with subprocess.Popen(
        [find().path, "-a", "127.0.0.1", "-p", str(free)], stderr=subprocess.DEVNULL
    ) as bare:
        try:
            eventually(lambda: listens(free))
            url = f"nats://127.0.0.1:{free}"
            answer = inside("up", "--data", tmp_path / "data", "--port", "0", "--nats", url)
        finally:
            bare.kill()
    assert answer.out == ""
    assert answer.code in (1, 5)
    assert "JetStream" in answer.err
    assert "Traceback" not in answer.err


def test_who_closes_the_terminal_ends_it_and_who_uses_nohup_does_not(start: Start) -> None:
    up = start()
    assert up.ready
    assert up.signal(signal.SIGHUP).wait() == 0
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        up = start()
        assert up.ready
    finally:
        signal.signal(signal.SIGHUP, before)
    up.signal(signal.SIGHUP)
    assert up.run("status").code == 0
    assert up.stop() == 0


def test_a_nats_server_that_is_missing_is_one_sentence(
    inside: Inside, tmp_path: Path, fake: Callable[[str], None]
) -> None:
    fake("/nonexistent")
    answer = inside("up", "--data", tmp_path / "data", "--port", "0", "--nats-port", "0")
    assert (answer.code, answer.out) == (1, "")
    assert "BACKCHANNEL_NATS_SERVER" in answer.err


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo nats-server: v2.10.3", "2.10.3, and Backchannel needs"),
        ("echo hello", "does not say its version"),
        ("test $1 = --version && echo nats-server: v2.15.1 || exit 3", "nats-server ended at its start"),
    ],
)
def test_a_nats_server_that_is_too_old_or_none_is_one_sentence(
    inside: Inside, tmp_path: Path, fake: Callable[[str], None], script: str, told: str
) -> None:
    program = tmp_path / "nats-server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    fake(str(program))
    answer = inside("up", "--data", tmp_path / "data", "--port", "0", "--nats-port", "0")
    assert (answer.code, answer.out) == (1, "")
    assert told in answer.err
    assert "Traceback" not in answer.err


@pytest.fixture
def fake(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Name another nats-server, after `inside` has cleaned the environment."""
    return lambda path: monkeypatch.setenv("BACKCHANNEL_NATS_SERVER", path)


def test_a_part_that_cannot_start_is_named_with_its_own_words(start: Start) -> None:
    up = start(env={"BACKCHANNEL_QUEUE": "many"})
    assert up.wait() == 1
    assert up.out == []
    assert "bridge does not start" in up.said("error:")
    assert "BACKCHANNEL_QUEUE" in up.said("error:")


def test_a_store_that_was_damaged_is_not_served_in_silence(start: Start) -> None:
    """Whatever nats-server makes of it, `up` ends with a sentence or serves; it never hangs."""
    up = start()
    assert up.ready and up.stop() == 0
    for path in sorted((up.data / "nats").rglob("*.inf")):
        path.write_bytes(b"\0" * 64)
    again = start(data=up.data)
    eventually(lambda: again.out or not alive(again.pid))
    if not again.out:
        assert again.said("error:")
