"""What the processes of a platform need to start, and where a serving platform is found."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from backchannel.home.files import FolderError, decode_key, read_secret
from backchannel.home.keys import KeyFiles, read_keys

Role = Literal["platform", "operator", "steward", "system"]
"""The steward alone may change the stream of the audit trail: `up` and `streams apply` are stewards."""
ROLES: tuple[Role, ...] = ("platform", "operator", "steward", "system")


@dataclass(frozen=True, slots=True)
class Runtime:
    """How the processes of one platform are set up; written by `up` before it starts them.

    `nats_cert` is the file with the one certificate that the NATS server must show, where that is known.
    """

    nats: str
    groups: tuple[str, ...] = ("main",)
    host: str = "127.0.0.1"
    port: int = 8002
    durability: str = "normal"
    nats_cert: str | None = None

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Runtime:
        """From BACKCHANNEL_NATS_URL, _NATS_CERT, _GROUPS, _HOST, _PORT, _DURABILITY. Raises FolderError."""
        if not env.get("BACKCHANNEL_NATS_URL"):
            raise FolderError(
                "Nothing says which NATS server to use: give --data DIR, or set BACKCHANNEL_NATS_URL."
            )
        port = env.get("BACKCHANNEL_PORT", "8002")
        if not port.isdecimal() or int(port) > 65535:
            raise FolderError(f"BACKCHANNEL_PORT must be a port number from 0 to 65535, and is {port!r}.")
        return cls(
            nats=env["BACKCHANNEL_NATS_URL"],
            groups=tuple(name for name in env.get("BACKCHANNEL_GROUPS", "main").split(",") if name),
            host=env.get("BACKCHANNEL_HOST", "127.0.0.1"),
            port=int(port),
            durability=env.get("BACKCHANNEL_DURABILITY", "normal"),
            nats_cert=env.get("BACKCHANNEL_NATS_CERT") or None,
        )


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform that serves, as platform.json tells it. `started_at` is RFC 3339.

    `tls_cert` and `nats_cert` are files with the one certificate that is shown there; None without TLS, or
    where it is a NATS server of somebody else.
    """

    pid: int
    ws: str
    http: str
    nats: str
    groups: tuple[str, ...]
    host: str
    port: int
    started_at: str
    tls_cert: str | None = None
    nats_cert: str | None = None


class Settings(Protocol):
    """What a process of the platform needs to start, wherever it comes from."""

    def runtime(self) -> Runtime: ...
    def nats_login(self, role: Role) -> tuple[str | None, str | None]: ...
    def token_key(self) -> bytes: ...
    def token_keys(self) -> KeyFiles: ...
    def callout_key(self) -> bytes | None: ...
    def seal_keys(self) -> tuple[bytes, ...]: ...
    def audit_key(self) -> bytes: ...
    def audit_folder(self) -> Path | None: ...


class Environment:
    """Settings of a deployment without a data folder: BACKCHANNEL_* variables and the files they name.

    The modes of those files are not checked: orchestrators mount secrets world-readable inside a container.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def runtime(self) -> Runtime:
        return Runtime.from_environment(self._env)

    def nats_login(self, role: Role) -> tuple[str | None, str | None]:
        """The one login of BACKCHANNEL_NATS_USER and BACKCHANNEL_NATS_PASSWORD_FILE, whatever the role."""
        user = self._env.get("BACKCHANNEL_NATS_USER")
        path = self._env.get("BACKCHANNEL_NATS_PASSWORD_FILE")
        return user, read_secret(Path(path), checked=False) if path else None

    def token_key(self) -> bytes:
        path = self._env.get("BACKCHANNEL_TOKEN_KEY_FILE")
        if not path:
            raise FolderError(
                "Nothing says which key signs tokens: give --data DIR, or set BACKCHANNEL_TOKEN_KEY_FILE "
                "to a file with 32 random bytes in base64url."
            )
        return decode_key(read_secret(Path(path), checked=False), Path(path))

    def token_keys(self) -> KeyFiles:
        """Also those of BACKCHANNEL_FORMER_KEYS_FILE: JSON, ``{"keys": [{"key": …, "until": seconds}]}``."""
        self.token_key()
        current = Path(self._env["BACKCHANNEL_TOKEN_KEY_FILE"])
        named = self._env.get("BACKCHANNEL_FORMER_KEYS_FILE")
        former = Path(named) if named else None
        paths = [path for path in (current, former) if path is not None]
        return KeyFiles(paths, lambda: read_keys(current, former, checked=False))

    def callout_key(self) -> bytes | None:
        """From the file that BACKCHANNEL_CALLOUT_KEY_FILE names, 32 random bytes in base64url."""
        path = self._env.get("BACKCHANNEL_CALLOUT_KEY_FILE")
        return decode_key(read_secret(Path(path), checked=False), Path(path)) if path else None

    def seal_keys(self) -> tuple[bytes, ...]:
        """From the key of the audit trail if it has a file; else from each key of tokens."""
        if self._env.get("BACKCHANNEL_AUDIT_KEY_FILE"):
            return (seal_key(self.audit_key()),)
        keys = self.token_keys()()
        return tuple(seal_key(key.secret) for key in (keys.current, *keys.former))

    def audit_key(self) -> bytes:
        """From the file that BACKCHANNEL_AUDIT_KEY_FILE names; without one, made from the key of tokens."""
        path = self._env.get("BACKCHANNEL_AUDIT_KEY_FILE")
        if path:
            return decode_key(read_secret(Path(path), checked=False), Path(path))
        return hmac.digest(self.token_key(), b"backchannel audit trail", "sha256")

    def audit_folder(self) -> Path | None:
        """Where copies of the audit trail are kept: BACKCHANNEL_AUDIT_FOLDER, or nowhere."""
        folder = self._env.get("BACKCHANNEL_AUDIT_FOLDER")
        return Path(folder) if folder else None


def seal_key(secret: bytes) -> bytes:
    """The key of the seals on stored records, made from a secret that does something else."""
    return hmac.digest(secret, b"backchannel stored records", "sha256")
