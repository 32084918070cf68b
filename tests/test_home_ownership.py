"""Nothing in a data folder is used that is a link, a pipe, somebody else's, or open to others."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backchannel.home import FolderError, Home, Platform, Runtime, UnknownOrigin
from cli.failure import Failure
from cli.log import open_log

NOBODY = 65534
PRECIOUS = "precious"

READ: dict[str, Callable[[Home], object]] = {
    "lock": Home.serving,
    "runtime.json": Home.runtime,
    "platform.json": Home.platform,
    "known.jsonl": Home.known,
    "origin.json": Home.token_key,
    "secrets/token.key": Home.token_key,
    "secrets/token.former.json": lambda home: home.token_keys()(),
    "secrets/callout.key": Home.callout_key,
    "secrets/audit.key": Home.audit_key,
    "secrets/nats.json": lambda home: home.nats_login("operator"),
    "audit/segments/main-1.jsonl": Home.audit_folder,
    "audit/trail.sqlite": Home.audit_folder,
    "audit/trail.sqlite-wal": Home.audit_folder,
    "audit/anchors.jsonl": Home.audit_folder,
}
"""Every file that is read outside `up` as well, and what reads it."""

FILES = (
    *READ,
    *("certificate.pem", "secrets/tls.key", "nats/nats-server.pid", "nats/jetstream/APP/1.blk"),
    *("logs/up.log", "logs/bridge.log", "logs/handlers.log.1", "logs/nats-server.log"),
    "logs/nats-server.stderr",
)
FOLDERS = ("", "secrets", "nats", "nats/jetstream", "logs", "audit", "audit/segments")


def link(path: Path, victim: Path) -> None:
    path.unlink()
    path.symlink_to(victim)


def dangling(path: Path, victim: Path) -> None:
    victim.unlink()
    link(path, victim)


def second_name(path: Path, victim: Path) -> None:
    path.unlink()
    os.link(victim, path)


def pipe(path: Path, victim: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def folder(path: Path, victim: Path) -> None:
    path.unlink()
    path.mkdir()


def somebody_elses(path: Path, victim: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def writable(path: Path, victim: Path) -> None:
    path.chmod(path.stat().st_mode | 0o020)


def writable_by_all(path: Path, victim: Path) -> None:
    path.chmod(path.stat().st_mode | 0o002)


def moved_and_linked(path: Path, victim: Path) -> None:
    aside = path.with_name(path.name + "-aside")
    path.rename(aside)
    path.symlink_to(aside)


def replaced(path: Path, victim: Path) -> None:
    shutil.rmtree(path)
    path.write_text(PRECIOUS)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
OF_FILES = [
    *(link, dangling, second_name, pipe, writable, writable_by_all),
    pytest.param(somebody_elses, marks=root_only),
]
READ_ALONE = [name for name in READ if not name.startswith("audit/")]
"""A folder more among the copies of the trail is none of them."""
ROOMS = [name for name in FOLDERS if "/" not in name]
"""What is below a room is missed by whoever uses it."""
OF_FOLDERS = [
    *(moved_and_linked, writable, writable_by_all),
    pytest.param(somebody_elses, marks=root_only),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with everything in it that a platform keeps."""
    found = Home(tmp_path_factory.mktemp("made") / "data")
    found.rotate_token_key(60)
    found.callout_key()
    found.audit_key()
    found.nats_login("operator")
    found.add_known({"agent_id": "ada"})
    found.set_runtime(Runtime("nats://127.0.0.1:1"))
    found.set_platform(Platform(1, "ws://x", "http://x", "nats://x", ("main",), "127.0.0.1", 1, "now"))
    found.lock(wait=0).release()
    for name in FILES:
        path = found.path / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
    return found.path


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Home:
    """Such a folder, to be spoiled."""
    found = Home(shutil.copytree(made, tmp_path / "data"))
    found.lock(wait=0).release()
    return Home(found.path)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text(PRECIOUS)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("trick", OF_FILES)
@pytest.mark.parametrize("name", FILES)
def test_no_platform_starts_over_a_file_that_is_not_simply_its_own(
    home: Home, victim: Path, name: str, trick: Callable[[Path, Path], None]
) -> None:
    path = home.path / name
    trick(path, victim)
    with pytest.raises(FolderError) as refusal:
        home.lock(wait=0)
    assert name in refusal.value.message
    assert not victim.exists() or victim.read_text() == PRECIOUS


@pytest.mark.parametrize("trick", OF_FILES)
@pytest.mark.parametrize("name", READ)
def test_no_command_reads_a_file_that_is_not_simply_its_own(
    home: Home, victim: Path, name: str, trick: Callable[[Path, Path], None]
) -> None:
    trick(home.path / name, victim)
    with pytest.raises(FolderError) as refusal:
        READ[name](home)
    assert name in refusal.value.message
    assert not victim.exists() or victim.read_text() == PRECIOUS


@pytest.mark.parametrize("name", READ_ALONE)
def test_no_command_takes_a_folder_for_a_file(home: Home, victim: Path, name: str) -> None:
    folder(home.path / name, victim)
    with pytest.raises(FolderError) as refusal:
        READ[name](home)
    assert name in refusal.value.message


@pytest.mark.parametrize("name", ROOMS)
def test_no_platform_starts_over_a_file_where_a_folder_should_be(home: Home, victim: Path, name: str) -> None:
    replaced(home.path / name, victim)
    with pytest.raises(FolderError):
        home.lock(wait=0)


@pytest.mark.parametrize("trick", OF_FOLDERS)
@pytest.mark.parametrize("name", FOLDERS)
def test_no_platform_starts_over_a_folder_that_is_not_simply_its_own(
    home: Home, victim: Path, name: str, trick: Callable[[Path, Path], None]
) -> None:
    trick(home.path / name, victim)
    with pytest.raises(FolderError):
        home.lock(wait=0)


@pytest.mark.parametrize("trick", [link, second_name, pipe, writable, writable_by_all])
@pytest.mark.parametrize("name", ["bridge.log", "up.log"])
def test_no_log_is_written_through_another_name(
    home: Home, victim: Path, name: str, trick: Callable[[Path, Path], None]
) -> None:
    trick(home.logs / name, victim)
    with pytest.raises((FolderError, Failure)):
        open_log(home.logs / name)
    assert victim.read_text() == PRECIOUS


def test_a_folder_that_everybody_may_replace_is_not_used(tmp_path: Path) -> None:
    above = tmp_path / "open"
    above.mkdir()
    home = Home(above / "data")
    above.chmod(0o777)
    with pytest.raises(FolderError, match=f"chmod o-w {above}"):
        home.token_key()
    above.chmod(0o1777)
    assert home.token_key()


def test_folders_above_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert Home(tmp_path / "near" / "data").token_key() == Home(tmp_path / "far" / "data").token_key()


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_everything_is_made_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    home = Home(tmp_path / "data")
    home.rotate_token_key(60)
    home.add_known({"agent_id": "ada"})
    home.set_runtime(Runtime("nats://127.0.0.1:1"))
    home.lock(wait=0).release()
    open_log(home.logs / "up.log").close()
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [home.path, *home.path.rglob("*")]}
    assert len(modes) > 8 and not [path for path, mode in modes.items() if mode & 0o077]


def test_what_an_older_release_left_open_for_reading_is_closed(home: Home) -> None:
    home.logs.chmod(0o755)
    (home.path / "lock").chmod(0o644)
    home.lock(wait=0).release()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home.logs, home.path / "lock")] == [0o700, 0o600]


EVERY_USE = [*dict.fromkeys(READ.values()), Home.lock, Home.create, Home.token_key]


@pytest.mark.parametrize("use", EVERY_USE)
def test_a_folder_that_came_from_elsewhere_is_not_used_until_it_is_taken_over(
    home: Home, use: Callable[[Home], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = home.token_key()
    shutil.copytree(home.path, tmp_path / "project" / ".backchannel")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    stranger = Home(tmp_path / "project" / ".backchannel")
    with pytest.raises(UnknownOrigin, match=f"backchannel up --adopt --data {stranger.path}"):
        use(stranger)
    stranger.adopt()
    assert Home(stranger.path).token_key() == key


@pytest.mark.parametrize(
    "kept",
    [
        "secrets/token.key",
        "runtime.json",
        "platform.json",
        "known.jsonl",
        "nats/jetstream/APP/1.blk",
        "audit",
    ],
)
def test_one_thing_in_it_is_enough_for_a_folder_to_be_a_strangers(
    home: Home, tmp_path: Path, kept: str
) -> None:
    planted = tmp_path / "project" / ".backchannel"
    (planted / kept).parent.mkdir(mode=0o700, parents=True)
    copy = shutil.copytree if (home.path / kept).is_dir() else shutil.copy2
    copy(home.path / kept, planted / kept)
    for use in (Home.token_key, Home.platform, Home.serving, Home.lock):
        with pytest.raises(UnknownOrigin):
            use(Home(planted))


@pytest.mark.parametrize(
    "mark",
    [
        "",
        "\udcff",
        "[" * 100_000,
        "{}",
        "[]",
        '{"id": "x", "mark": "y"}',
        '{"id": 1, "mark": 2}',
        '{"id": "\\ud800", "mark": ""}',
    ],
)
def test_a_mark_that_this_user_did_not_make_marks_nothing(home: Home, mark: str) -> None:
    (home.path / "origin.json").write_bytes(mark.encode("utf-8", "surrogateescape"))
    with pytest.raises(FolderError):
        Home(home.path).token_key()


@pytest.mark.parametrize("carry", [shutil.copytree, shutil.move])
def test_a_folder_that_its_user_moved_or_copied_is_used_as_before(
    home: Home, carry: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    key = home.token_key()
    carry(home.path, tmp_path / "elsewhere")
    moved = Home(tmp_path / "elsewhere")
    moved.lock(wait=0).release()
    assert moved.token_key() == key


def test_a_state_folder_that_cannot_be_used_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(FolderError, match="XDG_STATE_HOME"):
        Home(tmp_path / "data").token_key()
