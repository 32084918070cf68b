"""Several requests in one answer: exactly those that it names, each with its own decision, all or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from backchannel.domain.decision import Decision
from backchannel.domain.supervision.answer import Answer, answered
from backchannel.domain.supervision.request import Request
from backchannel.errors import BadMessage
from backchannel.protocol.supervision import ApprovalResponse


def named(said: ApprovalResponse) -> list[ApprovalResponse]:
    """One answer for each request that an answer decides, the one it is about first.

    Raises:
        BadMessage: it does not say which requests it means, or says different things of one.
    """
    if isinstance(said.together, bool) and said.together:
        raise BadMessage(
            "'together' takes the list of the request_ids that were shown; what came later is not decided"
            " with them.",
            field="together",
        )
    if said.together and said.decisions:
        raise BadMessage("Either 'together' or 'decisions'; leave one of them out.", field="decisions")
    plain = said.model_copy(update={"together": None, "decisions": None})
    if said.decisions:
        return _each(plain, said)
    ids = dict.fromkeys([said.request_id, *(said.together or ())])
    return [plain.model_copy(update={"request_id": one}) for one in ids]


def answered_all(requests: Mapping[str, Request | None], answers: Sequence[Answer]) -> Decision:
    """What follows from the answers; nothing if one of them cannot be given. Raises as `answered`."""
    first, *others = answers
    whole = answered(requests[first.message.request_id], first)
    also = [answered(requests[one.message.request_id], replace(one, first=False)) for one in others]
    for one in also:
        whole = replace(
            whole,
            events=(*whole.events, *one.events),
            marks=(*whole.marks, *one.marks),
            timers=(*whole.timers, *one.timers),
            deeds=(*whole.deeds, *one.deeds),
            calls=(*whole.calls, *one.calls),
        )
    if not also:
        return whole
    told = {
        "together_with": [one.result["request_id"] for one in also],
        "decided": [
            {name: one.result[name] for name in ("request_id", "decision")} for one in (whole, *also)
        ],
    }
    return replace(whole, result={**whole.result, **told})


def _each(plain: ApprovalResponse, said: ApprovalResponse) -> list[ApprovalResponse]:
    verdicts = said.decisions or []
    ids = [one.request_id for one in verdicts]
    if len(set(ids)) < len(ids):
        raise BadMessage("'decisions' names a request twice.", field="decisions")
    each = [plain.model_copy(update=one.model_dump()) for one in verdicts]
    mine = [one for one in each if one.request_id == plain.request_id]
    if mine and mine[0].approved != plain.approved:
        raise BadMessage("'decisions' says something else of the request than the answer.", field="decisions")
    return [*(mine or [plain]), *(one for one in each if one.request_id != plain.request_id)]
