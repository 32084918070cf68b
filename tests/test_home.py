"""The data folder: what it keeps, whom it lets in, how it says no."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backchannel.errors import BackchannelError, Unavailable
from backchannel.home import Environment, FolderError, FolderInUse, Home, NotRunning, Platform, Runtime
from backchannel.home.settings import ROLES

PLATFORM = Platform(
    pid=1,
    ws="ws://127.0.0.1:1/ws",
    http="http://127.0.0.1:1",
    nats="nats://127.0.0.1:2",
    groups=("main", "night"),
    host="127.0.0.1",
    port=1,
    started_at="2026-01-31T12:00:00.000Z",
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_on_first_use_and_stays_the_same(tmp_path: Path) -> None:
    key = Home(tmp_path / "home").token_key()
    assert len(key) == 32
    assert Home(tmp_path / "home").token_key() == key


def test_two_who_need_the_first_key_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: Home(tmp_path / "home").token_key(), range(16)))
    assert len(keys) == 1


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    old = os.umask(0)
    try:
        home.token_key()
        home.nats_login("operator")
    finally:
        os.umask(old)
    assert mode(home.secrets) == 0o700
    assert {path.name: mode(path) for path in home.secrets.iterdir()} == {
        "token.key": 0o600,
        "nats.json": 0o600,
    }


@pytest.mark.parametrize("opened", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, opened: int) -> None:
    home = Home(tmp_path)
    home.token_key()
    (home.secrets / "token.key").chmod(opened)
    with pytest.raises(FolderError, match=r"chmod 600 .*token\.key"):
        home.token_key()


def test_a_folder_of_secrets_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.token_key()
    home.secrets.chmod(0o755)
    with pytest.raises(FolderError, match="chmod 700"):
        home.token_key()


@pytest.mark.parametrize("content", ["", "short", "not base64 at all!", "AAAA" * 10 + "é"])
def test_a_damaged_key_is_a_sentence_and_never_used(tmp_path: Path, content: str) -> None:
    home = Home(tmp_path)
    home.token_key()
    (home.secrets / "token.key").write_text(content, "utf-8")
    with pytest.raises(FolderError, match=r"token\.key"):
        home.token_key()


def test_every_role_has_a_login_of_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    logins = [home.nats_login(role) for role in ROLES]
    assert len({user for user, _ in logins}) == len({password for _, password in logins}) == len(ROLES)
    assert [home.nats_login(role) for role in ROLES] == logins


def test_a_folder_that_is_older_than_a_role_gets_a_login_for_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    before = home.nats_login("platform")
    path = home.secrets / "nats.json"
    logins = json.loads(path.read_text("utf-8"))
    del logins["steward"]
    path.write_text(json.dumps(logins), "utf-8")
    user, password = home.nats_login("steward")
    assert user == "steward" and password
    assert home.nats_login("steward") == (user, password)
    assert home.nats_login("platform") == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_login_of_a_foreign_server_gives_way_to_our_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.use_login("somebody", "secret")
    assert home.nats_login("operator") == ("somebody", "secret")
    own = home.own_logins()
    assert {user for user, _ in own.values()} == set(ROLES)
    assert "secret" not in {password for _, password in own.values()}
    assert home.own_logins() == own


def test_a_server_without_logins_is_used_without(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.use_login(None, None)
    assert home.nats_login("platform") == (None, None)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    runtime = Runtime("nats://127.0.0.1:4222", ("main", "night"), "0.0.0.0", 9, "strict")
    home.set_runtime(runtime)
    home.set_platform(PLATFORM)
    assert home.runtime() == runtime
    assert home.platform() == PLATFORM


def test_no_file_holds_a_password_but_the_one_for_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.use_login("somebody", "open-sesame")
    home.set_runtime(Runtime("nats://127.0.0.1:4222"))
    home.set_platform(PLATFORM)
    holders = [
        path.name for path in tmp_path.rglob("*") if path.is_file() and "open-sesame" in path.read_text()
    ]
    assert holders == ["nats.json"]


def test_where_nothing_ever_ran_is_a_sentence(tmp_path: Path) -> None:
    home = Home(tmp_path / "nowhere")
    with pytest.raises(NotRunning, match="backchannel up --data"):
        home.platform()
    assert not (tmp_path / "nowhere").exists()
    assert issubclass(NotRunning, Unavailable)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff\xfe", b'{"groups": 5}'])
def test_a_damaged_file_is_a_sentence_that_names_it(tmp_path: Path, content: bytes) -> None:
    home = Home(tmp_path)
    home.set_platform(PLATFORM)
    (tmp_path / "platform.json").write_bytes(content)
    with pytest.raises(BackchannelError, match=r"platform\.json"):
        home.platform()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.set_platform(PLATFORM)
    script = (
        "import os, sys; from backchannel.home import Home, Runtime; from backchannel.home import files\n"
        "files.os.replace = lambda *_: os._exit(9)\n"
        "home = Home(sys.argv[1]); p = home.platform(); home.set_platform(p)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60).returncode == 9
    assert home.platform() == PLATFORM


def test_only_one_platform_runs_in_a_folder(tmp_path: Path) -> None:
    lock = Home(tmp_path).lock()
    with pytest.raises(FolderInUse, match=rf"process {os.getpid()}"):
        Home(tmp_path).lock(wait=0.0)
    lock.release()
    Home(tmp_path).lock(wait=0.0).release()


def test_the_lock_is_waited_for_while_a_predecessor_dies(tmp_path: Path) -> None:
    script = (
        "import sys, time; from backchannel.home import Home; Home(sys.argv[1]).lock();"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert Home(tmp_path).serving()
        holder.kill()
        Home(tmp_path).lock(wait=30.0).release()
    assert not Home(tmp_path).serving()


def test_a_lock_lives_as_long_as_a_child_that_inherited_it(tmp_path: Path) -> None:
    lock = Home(tmp_path).lock()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock.fd]) as child:
        lock.release()
        assert Home(tmp_path).serving()
        child.kill()
        child.wait()
    assert not Home(tmp_path).serving()


def test_a_path_through_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = Home(tmp_path / "file" / "home")
    for attempt in (home.create, home.token_key, home.lock, home.known):
        with pytest.raises(FolderError, match="a part of the path is a file"):
            attempt()


def test_agents_registered_meanwhile_are_kept_until_they_are_taken_over(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.known() == []
    for name in ("ada", "bob", "eve"):
        home.add_known({"agent_id": name})
    home.forget_known(2)
    assert home.known() == [{"agent_id": "eve"}]


def test_nobody_who_registers_at_the_same_time_is_lost(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: Home(tmp_path).add_known({"number": number}), range(40)))
    assert sorted(entry["number"] for entry in Home(tmp_path).known()) == list(range(40))


def test_a_deployment_without_a_data_folder_is_set_up_by_its_environment(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open-sesame\n")
    (tmp_path / "key").write_text("A" * 43 + "\n")
    env = {
        "BACKCHANNEL_NATS_URL": "nats://nats:4222",
        "BACKCHANNEL_NATS_USER": "platform",
        "BACKCHANNEL_NATS_PASSWORD_FILE": str(tmp_path / "password"),
        "BACKCHANNEL_TOKEN_KEY_FILE": str(tmp_path / "key"),
        "BACKCHANNEL_GROUPS": "main,night",
    }
    settings = Home.from_environment(env)
    assert isinstance(settings, Environment)
    assert settings.runtime() == Runtime("nats://nats:4222", ("main", "night"))
    assert settings.nats_login("platform") == ("platform", "open-sesame")
    assert settings.token_key() == bytes(32)


def test_a_named_data_folder_goes_before_the_environment(tmp_path: Path) -> None:
    env = {"BACKCHANNEL_NATS_URL": "nats://nats:4222"}
    assert isinstance(Home.from_environment(env, str(tmp_path)), Home)
    assert isinstance(Home.from_environment(env | {"BACKCHANNEL_DATA": str(tmp_path)}), Home)
    assert isinstance(Home.from_environment({}), Home)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"BACKCHANNEL_NATS_URL": "nats://x", "BACKCHANNEL_PORT": "many"},
        {"BACKCHANNEL_NATS_URL": "nats://x", "BACKCHANNEL_PORT": "70000"},
    ],
)
def test_a_wrong_environment_is_a_sentence(env: dict[str, str]) -> None:
    with pytest.raises(FolderError, match="BACKCHANNEL_"):
        Runtime.from_environment(env)


def test_a_missing_key_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="BACKCHANNEL_TOKEN_KEY_FILE"):
        Environment({}).token_key()
    with pytest.raises(FolderError, match="cannot be read"):
        Environment({"BACKCHANNEL_TOKEN_KEY_FILE": str(tmp_path / "none")}).token_key()
