"""Credentials: where the platform is, and a token that proves who is speaking."""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from backchannel.delivery.token import draft, sign
from backchannel.errors import BackchannelError, Forbidden
from backchannel.home import DEFAULT_FOLDER, Home
from backchannel.tls import trusting

TOKEN_LIFETIME = 600
"""Seconds for which a token signed here is valid; a new one is signed for every connection."""

TokenSource = Callable[[], str | Awaitable[str]]


class Access(Protocol):
    """How to get in. Asked again for every connection, so both may change."""

    @property
    def refreshable(self) -> bool:
        """A fresh token can be had when the last one is not accepted any more."""

    def url(self) -> str:
        """The WebSocket address. Raises Unavailable (not there yet) or another BackchannelError."""

    def trust(self) -> ssl.SSLContext | None:
        """Which certificate to believe; None: those the system believes. Raises what `url` raises."""

    async def token(self, *, fresh: bool) -> str:
        """A token; `fresh`: not one that was handed out before. Raises BackchannelError."""


@dataclass(frozen=True, slots=True)
class Found:
    """An access made of an address and a source of tokens."""

    address: Callable[[], str]
    source: TokenSource = field(repr=False)
    refreshable: bool
    certificate: Callable[[], str | None] = lambda: None

    def url(self) -> str:
        return self.address()

    def trust(self) -> ssl.SSLContext | None:
        return trusting(self.certificate())

    async def token(self, *, fresh: bool) -> str:
        try:
            given = self.source()
            return await given if inspect.isawaitable(given) else given
        except (BackchannelError, asyncio.CancelledError):
            raise
        except Exception as problem:
            raise Forbidden(f"No token could be had: {type(problem).__name__}: {problem}.") from problem


def find(
    name: str,
    *,
    url: str | None = None,
    token: str | TokenSource | None = None,
    token_file: str | os.PathLike[str] | None = None,
    key: bytes | None = None,
    group: str | None = None,
    data: str | os.PathLike[str] | None = None,
    claims: Mapping[str, Any] | None = None,
    env: Mapping[str, str] = os.environ,
) -> Access:
    """Where the platform is and who `name` is: what was given, else the environment, else the data folder.

    Variables: BACKCHANNEL_ URL, TOKEN, TOKEN_FILE, GROUP and DATA.

    Args:
        group: what a token that is signed here is for; others say it themselves.
        claims: more of what a token that is signed here says.

    Raises:
        Forbidden: there is no token, and no key to sign one with.
        NotRunning: there is no data folder, so nothing ever ran here.
    """
    home = Home(data or env.get("BACKCHANNEL_DATA") or DEFAULT_FOLDER)
    fixed = url or (None if data else env.get("BACKCHANNEL_URL"))
    if fixed is None and not home.path.exists():
        home.platform()
    address = (lambda: fixed) if fixed else (lambda: home.platform().ws)
    shown = (lambda: None) if fixed else (lambda: home.platform().tls_cert)
    if token is None and token_file is None and key is None and not data:
        token, token_file = env.get("BACKCHANNEL_TOKEN") or None, env.get("BACKCHANNEL_TOKEN_FILE") or None
    if isinstance(token, str):
        text = token.strip()
        return Found(address, lambda: text, refreshable=False, certificate=shown)
    if token is not None:
        return Found(address, token, refreshable=True, certificate=shown)
    if token_file is not None:
        path = Path(token_file)
        return Found(address, lambda: _read(path), refreshable=True, certificate=shown)
    group = group or env.get("BACKCHANNEL_GROUP") or "main"
    fields = {**(claims or {}), "collaboration_group": group}
    signer = _signer(name, fields, key, home, known=fixed is not None)
    return Found(address, signer, refreshable=True, certificate=shown)


def _signer(
    name: str, fields: Mapping[str, Any], key: bytes | None, home: Home, *, known: bool
) -> TokenSource:
    """Signs a short token for every connection, with the key given or the one of the data folder."""
    if key is None and known and not (home.secrets / "token.key").exists():
        raise Forbidden(
            f"There is no token for {name!r}: give token= or token_file=, set BACKCHANNEL_TOKEN or"
            f" BACKCHANNEL_TOKEN_FILE, or run where the data folder {home.path} is readable."
        )

    def signed() -> str:
        secret = key if key is not None else _key_of(home)
        now, jti = int(time.time()), secrets.token_hex(16)
        # Good for one connection: whoever sees it in passing cannot use it again.
        once = {**fields, "nonce": secrets.token_urlsafe(16)}
        return sign(draft(name, now=now, lifetime=TOKEN_LIFETIME, jti=jti, fields=once), secret)

    return signed


def _key_of(home: Home) -> bytes:
    home.platform()  # A folder without a platform is left as it is: asking it for its key would make one.
    return home.token_key()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise Forbidden(f"The token file {path} cannot be read: {problem}.") from problem
