"""Queries go to the handlers; what they say comes back as a result."""

from __future__ import annotations

import json
from typing import Any

from backchannel.jetstream.connection import Arrived
from tests.bridge.house.client import eventually
from tests.bridge.house.conftest import Platform


class Answerer:
    """Stands where the handlers stand, and answers what it is told to."""

    def __init__(self, platform: Platform, answer: Any) -> None:
        self.platform = platform
        self.answer = answer
        self.asked: list[Arrived] = []

    async def open(self) -> None:
        await self.platform.connection.subscribe("bc.*.svc.query.*", self._arrived)

    def _arrived(self, message: Arrived) -> None:
        self.asked.append(message)
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        self.platform.connection.emit(message.reply, body)


async def test_a_query_is_answered_by_the_handlers(platform: Platform) -> None:
    answerer = Answerer(platform, {"status": "success", "exchanges": [1, 2], "type": "forged", "next": None})
    await answerer.open()
    ada = await platform.agent("ada", claims={"sidebar_access": ["tls", "logins"]})
    result = await ada.ask("query", query="context", params={"context_id": "main"})
    assert result["type"] == "result"
    assert result["status"] == "success"
    assert result["exchanges"] == [1, 2]
    (asked,) = [one for one in answerer.asked if one.subject.endswith(".context")]
    headers = asked.headers or {}
    assert json.loads(asked.payload) == {"context_id": "main"}
    assert (headers["Bc-Caller"], headers["Bc-Role"], headers["Bc-Access"]) == ("ada", "agent", "tls,logins")


async def test_a_query_that_nobody_answers_is_unavailable(platform: Platform) -> None:
    ada = await platform.agent("ada")
    refused = await ada.ask("query", query="status")
    assert refused["code"] == "unavailable"
    assert refused["retryable"] is True


async def test_an_answer_that_cannot_be_read_is_no_answer(platform: Platform) -> None:
    await Answerer(platform, b"[1]").open()
    ada = await platform.agent("ada")
    assert (await ada.ask("query", query="status"))["code"] == "unavailable"


async def test_a_connection_asks_so_many_questions_at_a_time(platform: Platform) -> None:
    await platform.connection.subscribe("bc.main.svc.query.slow", lambda message: None)
    ada = await platform.agent("ada")
    asked = [await ada.send("query", query="slow") for _ in range(9)]
    assert (await ada.answer(asked[-1]))["code"] == "queue_full"
    await ada.alive()
    assert (await ada.answer(asked[0]))["code"] == "unavailable"


async def test_health_says_whether_the_handlers_answer(platform: Platform) -> None:
    house = platform.bridges[0].house
    assert house.facts()["handlers"] == {"answering": False}
    answerer = Answerer(platform, {"status": "success"})
    await answerer.open()
    await eventually(lambda: house.facts()["handlers"]["answering"])
    facts = house.facts()
    assert facts["nats"] == {"up": True}
    assert facts["log"]["main"]["live"] is True
    assert facts["log"]["main"]["lag"] == 0
