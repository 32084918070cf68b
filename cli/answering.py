"""Answers of a human over HTTP: they need no connection, and so get on with the one its dashboard has."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import quote

import httpx

from backchannel.client import compose
from backchannel.errors import BY_CODE, Internal, Unavailable
from backchannel.protocol.json_object import read_object
from backchannel.protocol.supervision import ApprovalResponse
from cli.door import Where, read_token
from cli.health import http_of


async def answered(where: Where, request_id: str, **fields: Any) -> dict[str, Any]:
    """What the platform at --url says of an answer. Raises the error that it answered, or Unavailable."""
    said = compose(ApprovalResponse, request_id=request_id, **fields)
    url, token = f"{http_of(where.url or '')}/approvals/{quote(request_id, safe='')}", read_token(where)
    try:
        trust = ssl.create_default_context()
        async with httpx.AsyncClient(timeout=where.timeout, trust_env=False, verify=trust) as client:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            answer = await client.post(url, content=said.model_dump_json(exclude_none=True), headers=headers)
        told = read_object(answer.content)
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        why = type(problem).__name__
        raise Unavailable(f"The platform at {where.url} cannot be reached: {why}.") from None
    if answer.is_success:
        return {name: value for name, value in told.items() if name != "status"}
    kind = BY_CODE.get(str(told.get("code")), Internal)
    raise kind(str(told.get("message") or "The platform refused and did not say why."))
