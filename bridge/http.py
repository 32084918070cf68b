"""HTTP: health, metrics, the schema, and a way to store without a WebSocket."""

from __future__ import annotations

import asyncio
import json
import time
from functools import cache
from typing import Any
from uuid import uuid4

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backchannel.errors import BackchannelError, BadMessage, TooLarge, Unavailable
from backchannel.protocol import catalog
from backchannel.protocol.json_object import read_object
from bridge import health
from bridge.config import Config
from bridge.host import Site
from bridge.leave import leave_in
from bridge.metrics import Metrics
from bridge.page import PAGE
from bridge.upgrade import Gate, TurnedAway

log = structlog.get_logger("bridge.http")

SECURITY_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
READ_ON = 8 << 20
"""Bytes of a body that are read before it is cut off."""

STATUS = {
    "too_large": 413,
    "forbidden": 403,
    "wrong_sender": 403,
    "quarantined": 403,
    "expired": 401,
    "conflict": 409,
    "rate_limited": 429,
    "queue_full": 503,
    "unavailable": 503,
    "degraded": 503,
    "internal": 500,
}
"""How an error is answered; every other one is the fault of what was sent: 422."""


class Pages:
    """The endpoints of one bridge.

    Args:
        site: who is at home.
        gate: who may store.
    """

    def __init__(self, config: Config, metrics: Metrics, site: Site, gate: Gate) -> None:
        self._config = config
        self._metrics = metrics
        self._site = site
        self._gate = gate
        self._opened = time.monotonic()

    def app(self) -> ASGIApp:
        routes = [
            Route("/", self.root),
            Route("/health", self.health),
            Route("/health/live", self.live),
            Route("/health/ready", self.ready),
            Route("/metrics", self.metrics),
            Route("/schema.json", self.schema),
            Route("/store", self.store, methods=["POST"]),
            Route("/approvals/{request_id}", self.approval, methods=["POST"]),
            Route("/ws", self.not_a_handshake),
        ]
        found = Starlette(
            routes=routes,
            exception_handlers={
                HTTPException: _told_by_framework,
                BackchannelError: self._told_by_rule,
                TurnedAway: self._told_by_gate,
                ClientDisconnect: _told_to_nobody,
                Exception: _told_by_accident,
            },
        )
        found.router.redirect_slashes = False
        return SecurityHeaders(found)

    async def root(self, request: Request) -> Response:
        return HTMLResponse(PAGE)

    async def health(self, request: Request) -> Response:
        report = health.report(
            self._site.host.facts(),
            serving=self._site.serving,
            connections=sum(int(one.value) for one in self._metrics.connections.meters.values()),
            uptime=time.monotonic() - self._opened,
        )
        return _json(report, health.CODES[report["status"]])

    async def live(self, request: Request) -> Response:
        return _json({"status": "live"})

    async def ready(self, request: Request) -> Response:
        ready = health.ready(self._site.host.facts(), serving=self._site.serving)
        return _json({"status": "ready" if ready else "not_ready"}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        text = await asyncio.to_thread(self._metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def schema(self, request: Request) -> Response:
        return Response(_schema(), media_type="application/schema+json")

    async def not_a_handshake(self, request: Request) -> Response:
        refusal = _refusal("bad_handshake", "This address speaks WebSocket: send an upgrade.")
        return _json(refusal, 426, {"upgrade": "websocket", "connection": "upgrade"})

    async def store(self, request: Request) -> Response:
        """Who, then how much, then what: nothing is read from a stranger."""
        if not self._site.serving:
            raise Unavailable("The bridge is starting or shutting down; try again.", retry_after=1)
        claims = self._gate.admit_request(_Head(request))
        content = read_object(await self._body(request))
        if content.get("type") != "memory_update":
            raise BadMessage("Only a 'memory_update' can be stored here.", field="type")
        started = time.monotonic()
        status, cursor, realtime, *duplicate = await self._site.host.store(claims, content)
        self._metrics.accept_seconds.observe(time.monotonic() - started)
        answer = {"status": status, "cursor": cursor, "realtime_updates": realtime}
        return _json(answer | {"duplicate": True} if any(duplicate) else answer)

    async def approval(self, request: Request) -> Response:
        """An answer to a request for approval: with a human's token, or with the leave a callback brought."""
        if not self._site.serving:
            raise Unavailable("The bridge is starting or shutting down; try again.", retry_after=1)
        leave = leave_in(request.headers.get("authorization", ""))
        claims = None if leave else self._gate.admit_request(_Head(request))
        content = read_object(await self._body(request))
        content |= {"request_id": request.path_params["request_id"]}
        content.setdefault("message_id", str(uuid4()))
        content.pop("leave", None)
        if leave:
            content["leave"] = leave.text
        group = leave.group if leave else claims.collaboration_group if claims else ""
        found = await self._site.host.decide(claims, group, content)
        if found.get("status") != "success":
            code = str(found.get("code"))
            refusal = _refusal(code, str(found.get("message")), found.get("field"))
            return _json(refusal, {**STATUS, "not_found": 404}.get(code, 422))
        return _json(found)

    async def _body(self, request: Request) -> bytes:
        limit = self._config.max_message_bytes
        declared = request.headers.get("content-length", "0")
        most = (
            limit if "expect" in request.headers else READ_ON
        )  # who asks before it sends can be told at once
        if len(declared) > 18 or int(declared) > most:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self._config.body_seconds):
                return await _read(request, limit)
        except TimeoutError:
            raise HTTPException(408, "The body took too long.", {"connection": "close"}) from None

    async def _told_by_gate(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, TurnedAway)
        self._metrics.turned_away.labels(error.reason).inc()
        remote = request.client.host if request.client else "unknown"
        self._gate.note(error, remote)
        headers = {"www-authenticate": "Bearer"} if error.status == 401 else {}
        code = "forbidden" if error.status in (401, 403) else "bad_request"
        return _json(_refusal(code, error.message), error.status, headers)

    async def _told_by_rule(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, BackchannelError)
        self._metrics.refused.labels(error.code).inc()
        status = STATUS.get(error.code, 422)
        headers = {}
        if status in (429, 503):
            headers["retry-after"] = str(max(1, round(error.retry_after or 1)))
        if status >= 500:
            log.warning("not_stored", code=error.code, message=error.message)
        return _json(_refusal(error.code, error.message, error.field), status, headers)


class SecurityHeaders:
    """Puts the security headers on every answer, also on the ones nobody foresaw."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *SECURITY_HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)


class _Head:
    """The headers of a request, as the gate reads them."""

    def __init__(self, request: Request) -> None:
        self._headers = request.headers

    def get_all(self, name: str) -> list[str]:
        return self._headers.getlist(name)


async def _read(request: Request, limit: int) -> bytes:
    """The body. One that is too long is read on for a while and thrown away: whoever is cut off in the middle
    of sending never reads why."""
    body, length = bytearray(), 0
    async for chunk in request.stream():
        length += len(chunk)
        if length <= limit:
            body += chunk
        elif length > READ_ON:
            break
    if length > limit:
        raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body may have {limit} bytes at most.")


async def _told_by_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "bad_method", 408: "too_slow"}
    texts = {404: "There is nothing at this address.", 405: "This address does not take this method."}
    message = texts.get(error.status_code, error.detail)
    code = codes.get(error.status_code, "bad_request")
    return _json(_refusal(code, message), error.status_code, dict(error.headers or {}))


async def _told_by_accident(request: Request, error: Exception) -> Response:
    # The server logs the traceback.
    return _json(_refusal("internal", "The bridge made a mistake; nothing is known to be stored."), 500)


async def _told_to_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


def _refusal(code: str, message: str, field: str | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "field": field}


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"
    return Response(body, status, headers, media_type="application/json")


@cache
def _schema() -> bytes:
    return json.dumps(catalog.schema(), indent=1).encode()
