"""HTTP: health, metrics, the schema, and a way to store without a WebSocket."""

from __future__ import annotations

import hashlib
import json
import time
from functools import cache
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backchannel.delivery.doors import Door
from backchannel.errors import BY_CODE, BackchannelError, Internal
from backchannel.protocol import catalog
from bridge import health
from bridge.blotter import Lines
from bridge.config import Config
from bridge.host import Site
from bridge.http_doors import STATUS, Doors
from bridge.leave import leave_in
from bridge.metrics import Metrics, Numbers
from bridge.page import PAGE
from bridge.upgrade import Gate, TurnedAway

log = structlog.get_logger("bridge.http")

SECURITY_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
NAMED = {**STATUS, "not_found": 404}
"""The same where the address itself names what is not there."""

MISSES = {
    404: ("not_found", "There is nothing at this address."),
    405: ("bad_method", "This address does not take this method."),
}
HEADERS_OF = {401: {"www-authenticate": "Bearer"}, 408: {"connection": "close"}}


class Pages:
    """The endpoints of one bridge.

    Args:
        site: who is at home.
        gate: who is let in.
    """

    def __init__(self, config: Config, metrics: Metrics, site: Site, gate: Gate) -> None:
        self._metrics = metrics
        self._site = site
        self._doors = Doors(config, site, gate)
        self._numbers = Numbers(metrics.text)
        self._lines = Lines()
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
                HTTPException: self._told_by_framework,
                BackchannelError: self._told_by_rule,
                TurnedAway: self._told_by_gate,
                ClientDisconnect: _told_to_nobody,
                Exception: _told_by_accident,
            },
        )
        found.router.redirect_slashes = False
        return SecurityHeaders(OneLength(found))

    async def root(self, request: Request) -> Response:
        async with self._doors.passed(Door.PAGE, request):
            return HTMLResponse(PAGE)

    async def health(self, request: Request) -> Response:
        """How it is, for everybody; in what state each part is, for those who may know."""
        async with self._doors.passed(Door.PAGE, request):
            report = health.report(
                self._site.host.facts(),
                serving=self._site.serving,
                connections=sum(int(one.value) for one in self._metrics.connections.meters.values()),
                uptime=time.monotonic() - self._opened,
            )
        shown = report if await self._doors.shows_numbers(request) else {"status": report["status"]}
        return _json(shown, health.CODES[report["status"]])

    async def live(self, request: Request) -> Response:
        return await self._probe("live", request)

    async def ready(self, request: Request) -> Response:
        return await self._probe("ready", request)

    async def _probe(self, page: str, request: Request) -> Response:
        async with self._doors.passed(Door.PAGE, request):
            status, said = self._site.probe(page)
            return _json({"status": said}, status)

    async def metrics(self, request: Request) -> Response:
        async with self._doors.passed(Door.NUMBERS, request):
            text = await self._numbers.text()
            return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def schema(self, request: Request) -> Response:
        async with self._doors.passed(Door.PAGE, request):
            content, tag = _schema()
            if tag in request.headers.get("if-none-match", ""):
                return Response(status_code=304, headers={"etag": tag})
            return Response(content, media_type="application/schema+json", headers={"etag": tag})

    async def not_a_handshake(self, request: Request) -> Response:
        async with self._doors.passed(Door.PAGE, request):
            refusal = _refusal("bad_handshake", "This address speaks WebSocket: send an upgrade.")
            return _json(refusal, 426, {"upgrade": "websocket", "connection": "upgrade"})

    async def store(self, request: Request) -> Response:
        async with self._doors.passed(Door.STORE, request) as visit:
            assert visit.claims is not None
            started = time.monotonic()
            status, cursor, realtime, *duplicate = await self._site.host.store(
                visit.claims, visit.content, visit.received
            )
        self._metrics.accept_seconds.observe(time.monotonic() - started)
        answer = {"status": status, "cursor": cursor, "realtime_updates": realtime}
        return _json(answer | {"duplicate": True} if any(duplicate) else answer)

    async def approval(self, request: Request) -> Response:
        """An answer to a request for approval: with a human's token, or with the leave a callback brought."""
        by_leave = leave_in(request.headers.get("authorization", "")) is not None
        async with self._doors.passed(Door.LEAVE if by_leave else Door.APPROVALS, request) as visit:
            assert visit.owner is not None
            found = await self._site.host.decide(visit.claims, visit.owner[0], visit.content)
            if found.get("status") != "success":
                kind = BY_CODE.get(str(found.get("code")), Internal)
                raise kind(str(found.get("message")), field=found.get("field"))
        return _json(found)

    async def _told_by_framework(self, request: Request, error: Exception) -> Response:
        """There is no such page, which is nobody's business who calls us by another's name."""
        assert isinstance(error, HTTPException)
        try:
            async with self._doors.passed(Door.PAGE, request):
                pass
        except TurnedAway as refusal:
            return await self._told_by_gate(request, refusal)
        code, text = MISSES.get(error.status_code, ("bad_request", error.detail))
        return _json(_refusal(code, text), error.status_code, dict(error.headers or {}))

    async def _told_by_gate(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, TurnedAway)
        self._metrics.turned_away.labels(error.reason).inc()
        code = {401: "forbidden", 403: "forbidden", 408: "too_slow"}.get(error.status, "bad_request")
        return _json(_refusal(code, error.message), error.status, HEADERS_OF.get(error.status, {}))

    async def _told_by_rule(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, BackchannelError)
        self._metrics.refused.labels(error.code).inc()
        told = NAMED if "request_id" in request.path_params else STATUS
        status = told.get(error.code, 422)
        headers = {}
        if status in (429, 503):
            headers["retry-after"] = str(max(1, round(error.retry_after or 1)))
        if status >= 500 and (missed := self._lines.next()) is not None:
            log.warning("not_stored", code=error.code, message=error.message, unwritten_before=missed)
        return _json(_refusal(error.code, error.message, error.field), status, headers)


class OneLength:
    """Refuses a request whose end two readers may find at different places (RFC 9112, 6.3): what a proxy in
    front takes for its body would be the next request here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        coded = b"transfer-encoding" in names
        if coded and (b"content-length" in names or scope.get("http_version") == "1.0"):
            refusal = _refusal("bad_request", "A body has a Content-Length or a Transfer-Encoding, not both.")
            await _json(refusal, 400, {"connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


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
def _schema() -> tuple[bytes, str]:
    """The schema, and the tag by which a client knows it again."""
    content = json.dumps(catalog.schema(), indent=1).encode()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
