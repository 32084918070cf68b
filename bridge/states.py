"""States: what each agent of a group said of itself last, so that saying it again at once stores nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from backchannel.delivery.sameness import Sameness, State
from backchannel.errors import BackchannelError
from backchannel.jetstream.publish import Stored
from backchannel.jetstream.read import Record
from backchannel.service.states import digest_of

Answer = Callable[[Stored | BackchannelError], None]


@dataclass(slots=True)
class _UnderWay:
    digest: str
    waiting: list[Answer] = field(default_factory=list)


class States:
    """Fed by the tail, which hears the states that came in at every bridge, and by this bridge's own door."""

    def __init__(self) -> None:
        self._last = Sameness()
        self._under_way: dict[str, _UnderWay] = {}

    def heard(self, record: Record, content: dict[str, Any]) -> None:
        """A state lies in the log."""
        found, sender = digest_of(content), content.get("sender_agent_id")
        if found is not None and isinstance(sender, str):
            at = datetime.fromisoformat(record.time).timestamp()
            self._last.told(sender, State(found, at, record.sequence))

    def repeated(self, agent: str, found: str, now: float) -> State | None:
        """The state in the log that this repeats; None if it is news, or another one is on its way."""
        return None if agent in self._under_way else self._last.repeated(agent, found, now)

    def joins(self, agent: str, found: str, answer: Answer) -> bool:
        """Whether the very same is on its way to the log: then both share what comes of it."""
        going = self._under_way.get(agent)
        if going is None or going.digest != found:
            return False
        going.waiting.append(answer)
        return True

    def sends(self, agent: str, found: str, answer: Answer, now: float) -> Answer:
        """It is on its way now; what to call when it is known what came of it."""
        going = self._under_way[agent] = _UnderWay(found)

        def done(outcome: Stored | BackchannelError) -> None:
            if self._under_way.get(agent) is going:
                del self._under_way[agent]
            if isinstance(outcome, BackchannelError):
                self._last.forget(agent)  # it may have been stored nevertheless
            elif not outcome.duplicate:
                self._last.told(agent, State(found, now, outcome.sequence, sure=True))
            answer(outcome)
            for other in going.waiting:
                other(outcome if isinstance(outcome, BackchannelError) else replace(outcome, duplicate=True))

        return done

    def gave_up(self, agent: str) -> None:
        """It could not even be sent."""
        self._under_way.pop(agent, None)

    def made_sure(self, agent: str, state: State) -> None:
        """Nothing newer of this agent lies in the log."""
        self._last.told(agent, state._replace(sure=True))


def again(sequence: int, stream: str) -> Stored:
    return Stored(sequence, True, stream)
