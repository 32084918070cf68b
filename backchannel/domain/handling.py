"""What follows when an agent says that it has handled a message, and who does what was meant for one away."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backchannel.domain.decision import Decision, Mark, Outgoing
from backchannel.errors import Conflict
from backchannel.protocol.attention import Handled
from backchannel.protocol.identifier import PLATFORM
from backchannel.protocol.lane import Lane
from backchannel.protocol.subject import InInbox, claim_mark, stage_mark

Status = Literal["done", "failed", "deferred"]
KEPT = 90 * 86_400
"""Seconds for which it is known what became of a message."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What an agent said of a message last; ``command`` is the id of the message by which it did."""

    status: str
    detail: str | None = None
    at: str | None = None
    command: str | None = None

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Stage | None:
        if "status" not in kept:
            return None
        return cls(str(kept["status"]), kept.get("detail"), kept.get("at"), kept.get("command"))


@dataclass(frozen=True, slots=True)
class Claim:
    """What was meant for ``target``, which was away, was offered to ``delegates``; ``by`` has taken it."""

    target: str
    delegates: tuple[str, ...]
    by: str | None = None

    @classmethod
    def read(cls, target: str, kept: Mapping[str, Any]) -> Claim:
        return cls(target, tuple(map(str, kept.get("delegates") or ())), kept.get("by"))

    def concerns(self, agent: str) -> bool:
        return agent == self.target or agent in self.delegates

    def taken_from(self, agent: str) -> bool:
        """Whether somebody else does it, so that ``agent`` need not."""
        return self.by is not None and self.by != agent and self.concerns(agent)

    def kept(self) -> dict[str, Any]:
        return {"delegates": list(self.delegates), "by": self.by}


def claim_of(message_id: str, claim: Claim) -> Mark:
    """The mark that keeps a claim."""
    return Mark(claim_mark(message_id, claim.target), claim.kept(), KEPT)


def handled(
    said: Handled, agent: str, at: str, sender: str | None, former: Stage | None, claims: Iterable[Claim]
) -> Decision:
    """``agent`` says what it has done about a message of ``sender``; ``former`` is what it said before.

    Whoever is offered what was meant for an agent that is away takes it by its first word about it; after
    that it is nobody else's. A failure gives it back.

    Raises:
        Conflict: somebody else has taken it.
    """
    if former is not None and former.command == str(said.message_id):
        return Decision(repeated=True)
    concerned = [claim for claim in claims if claim.concerns(agent)]
    for claim in concerned:
        if claim.taken_from(agent):
            raise Conflict(f"{claim.by} has taken this, which was meant for {claim.target}.", field="handles")
    changed = [_after(said.status, agent, claim) for claim in concerned]
    stage = {"status": said.status, "detail": said.detail, "at": at, "command": str(said.message_id)}
    told = _told(said, agent, sender, list(zip(concerned, changed, strict=True)))
    return Decision(
        tuple(_word(said, agent, name, changed) for name in sorted(told)),
        {"handles": said.handles, "handled": said.status, "taken_for": [claim.target for claim in changed]},
        marks=(
            Mark(stage_mark(said.handles, agent), stage, KEPT),
            *(claim_of(said.handles, claim) for claim in changed),
        ),
    )


def _after(status: Status, agent: str, claim: Claim) -> Claim:
    return Claim(claim.target, claim.delegates, None if status == "failed" else agent)


def _told(
    said: Handled, agent: str, sender: str | None, claims: Collection[tuple[Claim, Claim]]
) -> frozenset[str]:
    """The sender of a failure; and of what is taken, given back or done for another, all it concerns."""
    told = {sender} if said.status == "failed" and sender else set()
    for before, after in claims:
        if before.by != after.by:
            told |= {after.target, *after.delegates} | ({sender} if sender else set())
        elif said.status != "deferred":
            told |= {after.target} | ({sender} if sender else set())
    return frozenset(told - {agent, PLATFORM})


def _word(said: Handled, agent: str, to: str, claims: Iterable[Claim]) -> Outgoing:
    """It goes in the lane of what it is about, so that it does not come before that."""
    targets = [claim.target for claim in claims]
    lane = Lane.CRITICAL if targets else Lane.HIGH
    word = said.model_copy(
        update={
            "sender_agent_id": agent,
            "taken_for": targets,
            "taken_by": None if said.status == "failed" or not targets else agent,
        }
    )
    return Outgoing(InInbox(to, "notice"), lane, word)
