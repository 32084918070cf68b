"""One HTTP request, as any program would make it."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any, NamedTuple


class Answer(NamedTuple):
    status: int
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


async def fetch(url: str, body: Any = None, **headers: str) -> Answer:
    """GET, or POST where there is a body (bytes as they are, anything else as JSON)."""
    payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, payload, told)
    return await asyncio.to_thread(_answer, request)


def _answer(request: urllib.request.Request) -> Answer:
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return Answer(reply.status, reply.read().decode())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, refusal.read().decode())
