"""What the bridge says of its own health, over HTTP."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

WORDS = {200: "healthy", 206: "degraded", 503: "not serving"}
LARGEST = 1_000_000
Trust = ssl.SSLContext | None
"""Which certificate to believe; None: those the system believes."""


@dataclass(frozen=True, slots=True)
class Health:
    """An answer of `/health` or a part of it; `code` 0 when there was none."""

    code: int
    details: dict[str, Any] | None = None
    reason: str = ""

    @property
    def healthy(self) -> bool:
        return self.code == 200

    @property
    def faults(self) -> str:
        """What the bridge finds wrong, in its own words."""
        return "; ".join(map(str, (self.details or {}).get("faults") or ())) or self.reason

    @property
    def word(self) -> str:
        return WORDS.get(self.code, "unreachable" if self.code == 0 else f"unclear (HTTP {self.code})")


def ask_health(http: str, timeout: float, path: str = "/health", trust: Trust = None) -> Health:
    """GET a health page; never raises. `timeout` is in seconds."""
    # No proxy: the bridge asked is the one at this very address.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    try:
        with opener.open(f"{http}{path}", timeout=timeout) as answer:
            return Health(answer.status, _details(answer.read(LARGEST)))
    except urllib.error.HTTPError as answer:
        with answer:
            return Health(answer.code, _details(answer.read(LARGEST)))
    except (OSError, ValueError) as problem:
        return Health(0, reason=str(getattr(problem, "reason", problem)))


def http_of(url: str) -> str:
    """The HTTP address of a bridge, from any of its addresses."""
    parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
    return f"{'https' if parts.scheme in ('wss', 'https') else 'http'}://{parts.netloc}"


def ws_of(url: str) -> str:
    """The WebSocket address of a bridge, from any of its addresses."""
    parts = urllib.parse.urlsplit(url if "://" in url else f"ws://{url}")
    scheme = "wss" if parts.scheme in ("wss", "https") else "ws"
    return f"{scheme}://{parts.netloc}{parts.path if parts.path not in ('', '/') else '/ws'}"


def _details(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
