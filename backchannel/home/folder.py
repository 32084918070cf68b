"""The data folder of one platform and its rooms: secrets, lock, store, logs, who is known."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from backchannel.delivery.keys import Keys
from backchannel.home import files, ownership
from backchannel.home.files import FolderError, NotRunning
from backchannel.home.keys import KeyFiles, read_keys, retire, rotate
from backchannel.home.lock import Lock, is_taken, locked, take
from backchannel.home.origin import MARK, Origin
from backchannel.home.settings import ROLES, Environment, Platform, Role, Runtime, Settings, seal_key

DEFAULT_FOLDER = ".backchannel"
BELIEVED = ("secrets", "nats", "audit")
ROOMS = (*BELIEVED, "logs")
FILES = ("runtime.json", "platform.json", "known.jsonl", "certificate.pem")
"""What a platform keeps in its data folder, beside its lock and the mark of who made it."""
_Record = TypeVar("_Record", Runtime, Platform)


class Home:
    """The data folder. Nothing is made before it is needed; what cannot be used is a FolderError."""

    def __init__(self, path: str | os.PathLike[str] = DEFAULT_FOLDER) -> None:
        self.path = Path(path).absolute()
        self.secrets = self.path / "secrets"
        self.store = self.path / "nats"
        self.logs = self.path / "logs"
        self._origin = Origin(self.path, BELIEVED, FILES)

    @staticmethod
    def from_environment(env: Mapping[str, str], data: str | None = None) -> Settings:
        """`data`, or BACKCHANNEL_DATA; else the variables if they name a server; else the default folder."""
        folder = data or env.get("BACKCHANNEL_DATA")
        if folder is None and env.get("BACKCHANNEL_NATS_URL"):
            return Environment(env)
        return Home(folder or DEFAULT_FOLDER)

    def create(self) -> None:
        """Make the folder and its rooms where they are missing."""
        try:
            if self.path.is_symlink():
                ownership.require_folder(self.path)
            self.path.mkdir(mode=ownership.FOLDER_MODE, parents=True, exist_ok=True)
            self._origin.look()
            for room in (self.store, self.logs, self.secrets):
                room.mkdir(mode=ownership.FOLDER_MODE, exist_ok=True)
            for room in (self.store, self.logs):
                ownership.require_folder(room)
                ownership.close_to_others(room)
            ownership.require_folder(self.secrets, open_to=ownership.SEEN_BY_OTHERS)
            if not self._origin.ours:
                with locked(self.secrets):
                    self._origin.mark_new()
        except OSError as problem:
            raise FolderError(
                f"The data folder {self.path} cannot be written: {files.reason(problem)}. "
                "Choose another with --data DIR."
            ) from problem

    def require_ours(self) -> None:
        """FolderError if it is there, and open to others or neither made nor taken over by this user."""
        try:
            self._origin.look()
        except FileNotFoundError:
            return
        except OSError as problem:
            raise FolderError(
                f"The data folder {self.path} cannot be used: {files.reason(problem)}."
            ) from problem

    def adopt(self) -> None:
        """Take over what somebody else made, or this user elsewhere: believe its keys from now on."""
        with self._origin.taken_over(), self._alone():
            self._origin.mark()

    def lock(self, *, wait: float = 5.0) -> Lock:
        """Be the only platform here. Waits for a dying predecessor; then FolderInUse says who holds it."""
        self.create()
        lock = take(self.path, wait)
        try:
            self.survey()
        except BaseException:
            lock.release()
            raise
        return lock

    def survey(self) -> None:
        """FolderError when anything in here is a link, somebody else's, or can be changed by others."""
        self.require_ours()
        ownership.survey_files(self.path / name for name in (*FILES, "lock", MARK))
        for name in ROOMS:
            ownership.survey(self.path / name)

    def serving(self) -> bool:
        """Whether a platform, or a part of one, holds the lock."""
        self.require_ours()
        return is_taken(self.path)

    def token_key(self) -> bytes:
        """The 32 bytes that sign tokens, made on first use."""
        path = self.secrets / "token.key"
        with self._alone():
            if not os.path.lexists(path):
                files.write(path, files.new_key(), mode=0o600)
        return files.decode_key(files.read_secret(path), path)

    def token_keys(self) -> KeyFiles:
        """The key that signs tokens and those before it, followed from now on."""
        self.token_key()
        current, former = self._token_files()
        return KeyFiles((current, former), lambda: read_keys(current, former))

    def rotate_token_key(self, keep: float) -> Keys:
        """Sign with a new key from now on; tokens of the one before are believed for `keep` seconds."""
        self.token_key()
        with self._alone():
            return rotate(*self._token_files(), keep)

    def retire_token_keys(self) -> Keys:
        """Sign with a new key from now on, and believe no token of any former one."""
        self.token_key()
        with self._alone():
            return retire(*self._token_files())

    def _token_files(self) -> tuple[Path, Path]:
        return self.secrets / "token.key", self.secrets / "token.former.json"

    def seal_keys(self) -> tuple[bytes, ...]:
        """Keys of the seals on what the platform stores: the first one seals, each of them is believed."""
        return (seal_key(self.audit_key()),)

    def callout_key(self) -> bytes:
        """The 32 bytes of the key by which NATS servers believe whom to let in; made on first use."""
        path = self.secrets / "callout.key"
        with self._alone():
            if not os.path.lexists(path):
                files.write(path, files.new_key(), mode=0o600)
        return files.decode_key(files.read_secret(path), path)

    def audit_key(self) -> bytes:
        """The 32 bytes from which the keys of the audit trail are made, made on first use."""
        path = self.secrets / "audit.key"
        with self._alone():
            if not os.path.lexists(path):
                files.write(path, files.new_key(), mode=0o600)
        return files.decode_key(files.read_secret(path), path)

    def audit_folder(self) -> Path:
        """Where copies of the audit trail are kept. Raises FolderError."""
        self.require_ours()
        ownership.survey(self.path / "audit")
        return self.path / "audit"

    def nats_login(self, role: Role) -> tuple[str | None, str | None]:
        """User and password for a role, made on first use; a foreign server may ask for none."""
        path = self.secrets / "nats.json"
        with self._alone():
            if not os.path.lexists(path):
                self._write_logins({name: (name, secrets.token_urlsafe(24)) for name in ROLES})
        logins = files.parse(files.read_secret(path), path)
        if role in ROLES and role not in logins:
            logins = self._add_login(path, role)
        match logins.get(role):
            case {"user": str() | None as user, "password": str() | None as password}:
                return user, password
        raise FolderError(f"{path} names no user and password for {role!r}. Remove it and start again.")

    def _add_login(self, path: Path, role: Role) -> dict[str, Any]:
        """A role that the file is too old to know: a login of its own, or that of the foreign server."""
        with self._alone():
            logins = files.parse(files.read_secret(path), path)
            known = logins.get("platform")
            if isinstance(known, dict) and role not in logins:
                own = {"user": role, "password": secrets.token_urlsafe(24)}
                logins[role] = own if known.get("user") == "platform" else known
                files.write(path, json.dumps(logins, indent=1) + "\n", mode=0o600)
        return logins

    def own_logins(self) -> dict[Role, tuple[str, str]]:
        """The logins of our own nats-server; they replace that of a foreign one, if one was used before."""
        if any(self.nats_login(role)[0] != role for role in ROLES):
            with self._alone():
                (self.secrets / "nats.json").unlink()
        return {role: (role, self.nats_login(role)[1] or "") for role in ROLES}

    def use_login(self, user: str | None, password: str | None) -> None:
        """Remember how to log in at a server that is not ours; it stands for every role."""
        with self._alone():
            self._write_logins(dict.fromkeys(ROLES, (user, password)))

    def _write_logins(self, logins: Mapping[Role, tuple[str | None, str | None]]) -> None:
        entries = {role: {"user": user, "password": password} for role, (user, password) in logins.items()}
        files.write(self.secrets / "nats.json", json.dumps(entries, indent=1) + "\n", mode=0o600)

    def runtime(self) -> Runtime:
        """What `up` last set its processes up with. Raises NotRunning when it never ran here."""
        path = self.path / "runtime.json"
        return _build(Runtime, self._read(path), path)

    def set_runtime(self, runtime: Runtime) -> None:
        self._write("runtime.json", json.dumps(asdict(runtime), indent=1) + "\n")

    def platform(self) -> Platform:
        """The platform that serves from here. Raises NotRunning; one that crashed may still be named."""
        path = self.path / "platform.json"
        fields = self._read(path)
        fields.pop("version", None)
        return _build(Platform, fields, path)

    def set_platform(self, platform: Platform) -> None:
        self._write("platform.json", json.dumps({"version": 1, **asdict(platform)}, indent=1) + "\n")

    def forget_platform(self) -> None:
        with self._alone():
            (self.path / "platform.json").unlink(missing_ok=True)

    def add_known(self, entry: Mapping[str, Any]) -> None:
        """Note an agent that was registered while the platform is down; `up` takes it over."""
        with self._alone():
            self._write_known([*self._read_known(), dict(entry)])

    def known(self) -> list[dict[str, Any]]:
        """The agents of known.jsonl, oldest first."""
        with self._alone():
            return self._read_known()

    def forget_known(self, taken: int) -> None:
        """Drop the first `taken` agents, now that they are stored; what was added meanwhile stays."""
        with self._alone():
            self._write_known(self._read_known()[taken:])

    def _read_known(self) -> list[dict[str, Any]]:
        path = self.path / "known.jsonl"
        return (
            [files.parse(line, path) for line in files.read_own(path).splitlines()]
            if os.path.lexists(path)
            else []
        )

    def _write_known(self, entries: list[dict[str, Any]]) -> None:
        lines = (json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
        files.write(self.path / "known.jsonl", "".join(lines))

    def _read(self, path: Path) -> dict[str, Any]:
        self.require_ours()
        try:
            return files.parse(files.read_own(path), path)
        except FileNotFoundError as problem:
            raise NotRunning(
                f"No platform runs in {self.path}. Start one with: backchannel up --data {self.path}"
            ) from problem
        except (OSError, UnicodeDecodeError) as problem:
            raise FolderError(f"{path} cannot be read: {files.reason(problem)}.") from problem

    def _write(self, name: str, text: str) -> None:
        with self._alone():
            files.write(self.path / name, text)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time among the processes that share the folder."""
        self.create()
        try:
            with locked(self.secrets):
                yield
        except (OSError, UnicodeDecodeError) as problem:
            raise FolderError(
                f"The data folder {self.path} cannot be used: {files.reason(problem)}."
            ) from problem


def _build(kind: type[_Record], fields: dict[str, Any], path: Path) -> _Record:
    try:
        return kind(**{**fields, "groups": tuple(fields["groups"])})
    except (TypeError, KeyError) as problem:
        raise FolderError(f"{path} is not what `backchannel up` writes. Start it again.") from problem
