"""Tells other programs of requests for approval: a signed HTTP callback for each human who wants that."""

from __future__ import annotations

from datetime import timedelta

from backchannel.domain.decision import Decision
from backchannel.domain.supervision.callback import Leave, call
from backchannel.errors import BackchannelError
from backchannel.protocol.message import Message
from backchannel.protocol.subject import InInbox
from backchannel.protocol.supervision import ApprovalRequest
from backchannel.service.context import Context
from backchannel.service.declare import Service
from backchannel.service.happened import Happened

service = Service("callback", about=__doc__)
LATEST = timedelta(minutes=10)
"""After so long it is not tried any more; the request waits in the inbox all the same."""


@service.follows("bc.{group}.evt.inbox.*.*.decision")
async def tell(happened: Happened, ctx: Context) -> Decision | None:
    """Post a request to the address its human gave; whatever becomes of that, the request stands."""
    event, to = happened.event, happened.to
    if not isinstance(event, ApprovalRequest) or not isinstance(to, InInbox) or _decided(event):
        return None
    settings = ctx.house.settings().approvals
    address = settings.callbacks.get(to.agent_id)
    if address is None or ctx.now - happened.stored > LATEST:
        return None
    now = int(ctx.now.timestamp())
    leave = Leave(happened.group, to.agent_id, event.request_id, now, now + int(2 * settings.timeout))
    answer = f"{settings.public_url.rstrip('/')}/approvals/{event.request_id}"
    body, headers = call(event.model_dump(mode="json"), leave, answer, ctx.house.grant_key)
    try:
        await ctx.house.post(address, body, headers)
    except BackchannelError as problem:
        if not problem.retryable:
            return None
        raise
    return None


def _decided(event: Message) -> bool:
    """What is only told, because it was allowed, is not to be answered."""
    return bool((event.model_extra or {}).get("decided"))
