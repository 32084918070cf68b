"""What whoever runs the platform does with the command line: entered in the trail by a handlers process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pydantic_core

from backchannel.domain.audit import CATEGORIES, Deed
from backchannel.domain.audit.deed import Category
from backchannel.errors import BackchannelError, BadMessage, Unavailable
from backchannel.jetstream.connection import Arrived, Connection, Subscription
from backchannel.logger import Logger
from backchannel.protocol.identifier import OPERATOR
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import operator_subject
from backchannel.service.trail import Written

if TYPE_CHECKING:  # commands enter deeds as well, and need nothing of the house of the handlers
    from backchannel.service.house import House

log = Logger(__name__)
DEED = "deed"
PATIENCE = 5.0
PAUSE = 0.2
MOST_AT_ONCE = 64


class OperatorDeeds:
    """Takes deeds of operators from ``bc.<group>.operator.deed``, which no agent may publish to."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        heard: list[Subscription] = []
        try:
            for group in self._house.groups:
                subject = operator_subject(group, DEED)
                heard.append(await self._house.connection.subscribe(subject, self._arrived, queue="audit"))
            await asyncio.get_running_loop().create_future()
        finally:
            for subscription in heard:
                subscription.close()

    def _arrived(self, request: Arrived) -> None:
        if request.reply and len(self._running) < MOST_AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._reply(request))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _reply(self, request: Arrived) -> None:
        group = request.subject.split(".")[1]
        try:
            written = await self._house.trail.write(_deed(group, read_object(request.payload)))
            answer: dict[str, Any] = written._asdict()
        except BackchannelError as error:
            answer = {"error": error.message}
        try:
            await self._house.connection.send(request.reply, pydantic_core.to_json(answer))
        except BackchannelError as error:
            log.warning("operator_deed_unanswered", error=error.message)


async def enter(
    connection: Connection,
    group: str,
    category: Category,
    entity: str,
    action: str,
    facts: Mapping[str, Any],
    *,
    by: str = OPERATOR,
) -> Written:
    """Have an operator's deed entered in the trail of a group; returns when it is.

    Raises:
        Unavailable: it was not. What must not happen unseen must not be done.
    """
    said: dict[str, Any] = {
        "category": category,
        "entity": entity,
        "action": action,
        "facts": {**facts, "by": by},
    }
    said["id"] = secrets.token_hex(16)  # asked again, it is entered once
    payload = pydantic_core.to_json(said)
    answer = read_object(await _asked(connection, operator_subject(group, DEED), payload))
    if "error" in answer:
        raise Unavailable(f"The audit trail did not take it: {answer['error']}")
    return Written(int(answer["position"]), int(answer["sequence"]), str(answer["hash"]))


async def _asked(connection: Connection, subject: str, payload: bytes) -> bytes:
    """The answer; handlers that are just being started again are waited for."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            return (await connection.request(subject, payload, timeout=PATIENCE)).payload
        except Unavailable:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(PAUSE)


def _deed(group: str, said: Mapping[str, Any]) -> Deed:
    match said:
        case {"category": str() as category, "entity": str() as entity, "action": str() as action}:
            facts = said.get("facts")
            for known in CATEGORIES:
                if known == category and isinstance(facts, dict):
                    return Deed(group, known, entity, action, facts, id=str(said.get("id") or "") or None)
    raise BadMessage(f"This is no deed. It needs a category, one of {', '.join(CATEGORIES)}.")
