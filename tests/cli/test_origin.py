"""What came with a stranger's project is not believed: its data folder, its settings."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from backchannel.home import Home, Platform, Runtime
from cli import failure
from tests.cli.conftest import Start
from tests.cli.console import Answer, backchannel

Inside = Callable[..., Answer]
ANY = ("--port", "0", "--nats-port", "0")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that was unpacked as this user, with a data folder that somebody else made."""
    with monkeypatch.context() as strangers:
        strangers.setenv("XDG_STATE_HOME", str(tmp_path / "stranger"))
        made = Home(tmp_path / "made")
        made.token_key()
        made.nats_login("operator")
    return Path(shutil.copytree(tmp_path / "made", tmp_path / "project" / ".backchannel")).parent


@pytest.mark.parametrize(
    "words",
    [
        ("up", *ANY),
        ("token", "create", "ada"),
        ("token", "rotate-key"),
        ("status",),
        ("agents", "ls"),
        ("audit", "verify"),
        ("streams", "ls"),
        ("dead", "ls"),
    ],
    ids=" ".join,
)
def test_no_command_uses_the_data_folder_of_an_unpacked_project(
    project: Path, words: tuple[str, ...], inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    key = (project / ".backchannel" / "secrets" / "token.key").read_text()
    answer = inside(*words)
    assert (answer.code, answer.out) == (failure.REFUSED, "")
    assert "was not made here by this user" in answer.err and "up --adopt" in answer.err
    assert (project / ".backchannel" / "secrets" / "token.key").read_text() == key


def test_no_token_and_no_password_goes_where_a_strangers_data_folder_says(
    project: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("BACKCHANNEL_TOKEN", "mine")
    home = project / ".backchannel"
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        at = f"127.0.0.1:{stranger.getsockname()[1]}"
        made = Home(project.parent / "elsewhere")
        made.set_runtime(Runtime(f"nats://{at}"))
        made.set_platform(
            Platform(1, f"ws://{at}/ws", f"http://{at}", f"nats://{at}", ("main",), "127.0.0.1", 1, "now")
        )
        for name in ("runtime.json", "platform.json"):
            shutil.copy(made.path / name, home / name)
        for words in (("status",), ("token", "create", "ada"), ("agents", "ls"), ("doctor",)):
            assert inside(*words).code != 0
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.accept()


def test_a_person_can_take_a_data_folder_over_and_nothing_else_can(project: Path, start: Start) -> None:
    (project / "backchannel.toml").write_text("[up]\nadopt = true\n")
    refused = backchannel("up", *ANY, cwd=project, env={"BACKCHANNEL_ADOPT": "1"})
    assert refused.code == failure.REFUSED
    up = start("--adopt", data=project / ".backchannel")
    assert up.ready and up.run("status").code == 0
    assert up.stop() == 0
    up = start(data=project / ".backchannel")
    assert up.ready


def test_doctor_says_that_a_data_folder_is_a_strangers_and_what_to_do(project: Path, inside: Inside) -> None:
    answer = inside("doctor", "--json", "--data", project / ".backchannel")
    assert answer.code == failure.CHECK_FAILED
    (fault,) = [found for found in answer.json["checks"] if found["check"] == "data folder"]
    assert fault["outcome"] == "bad" and fault["hint"].startswith("backchannel up --adopt")


@pytest.mark.parametrize(
    ("setting", "near"),
    [
        ('url = "wss://evil.example/ws"', False),
        ('url = "https://127.0.0.1.evil.example"', False),
        ('url = "ws://127.0.0.1@evil.example/ws"', False),
        ('url = "ws://[::ffff:203.0.113.7]/ws"', False),
        ('url = "ws://0.0.0.0.evil.example"', False),
        ('url = "ws://[::1"', False),
        ('url = ""', False),
        ('[status]\nurl = "wss://evil.example/ws"', False),
        ('[up]\nnats = "nats://evil.example:4222"', False),
        ('[up]\nnats = "nats://127.0.0.1:4222,nats://evil.example:4222"', False),
        ('url = "ws://127.0.0.1:1/ws"', True),
        ('url = "ws://localhost:1/ws"', True),
        ('[up]\nnats = "nats://[::1]:4222"', True),
    ],
)
def test_settings_that_nobody_named_send_nothing_to_another_machine(
    tmp_path: Path, setting: str, near: bool, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKCHANNEL_TOKEN", "mine")
    (tmp_path / "backchannel.toml").write_text(f"{setting}\n")
    answer = inside("status")
    assert (answer.code == failure.REFUSED) is not near, answer
    assert ("to another machine" in answer.err) is not near
    named = inside("--config", "backchannel.toml", "config", "--help")
    assert named.code == 0, named


@pytest.mark.parametrize("spoiled", ["writable by all", "writable by a group", "another user's", "a pipe"])
def test_settings_that_others_may_have_written_are_not_used(
    tmp_path: Path, spoiled: str, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "backchannel.toml"
    path.write_text('[token.create]\nlevel = "autonomous"\n')
    match spoiled:
        case "writable by all":
            path.chmod(0o666)
        case "writable by a group":
            if os.geteuid() != 0:
                pytest.skip("only root can give a file to another group")
            os.chown(path, 0, 65534)
            path.chmod(0o664)
        case "another user's":
            if os.geteuid() != 0:
                pytest.skip("only root can give a file away")
            os.chown(path, 65534, 0)
        case "a pipe":
            path.unlink()
            os.mkfifo(path)
    answer = inside("token", "create", "ada", "--data", tmp_path / "data")
    assert answer.code == (failure.USAGE if spoiled == "a pipe" else failure.REFUSED), answer
    assert not (tmp_path / "data").exists()


def test_a_running_platform_keeps_everything_to_its_user_whatever_the_umask(start: Start) -> None:
    before = os.umask(0)
    try:
        up = start()
        assert up.ready
    finally:
        os.umask(before)
    assert up.run("token", "create", "ada").code == 0
    found = [up.data, *up.data.rglob("*")]
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in found if os.path.lexists(path)}
    assert len(modes) > 30
    assert [path for path, mode in modes.items() if mode & 0o077] == []


def test_an_export_is_for_its_user_alone_and_follows_no_link(start: Start, tmp_path: Path) -> None:
    up = start()
    assert up.ready
    before = os.umask(0)
    try:
        assert up.run("audit", "export", "--out", tmp_path / "trail.jsonl").code == 0
        assert up.run("streams", "export", "BC_EVENTS_main", "--out", tmp_path / "events.jsonl").code == 0
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("trail.jsonl", "events.jsonl")}
    assert modes == {0o600}
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    refused = up.run("audit", "export", "--out", tmp_path / "link")
    assert refused.code == failure.USAGE and not (tmp_path / "elsewhere").exists()


def test_nothing_that_runs_leaves_a_core_dump(start: Start) -> None:
    up = start()
    assert up.ready
    for pid in (up.pid, *up.children().values()):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
        assert core == ["0", "0"]


def test_who_makes_a_token_is_told_what_the_settings_add_to_it(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backchannel.toml").write_text('[token.create]\nlevel = "autonomous"\nttl = "1h"\n')
    assert "note: --level of this token comes from the settings file" in inside("token", "create", "ada").err
    assert "settings file" not in inside("token", "create", "ada", "--level", "low").err
