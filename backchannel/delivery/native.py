"""Native clients: what an agent that speaks NATS itself may publish, hear and read, as subjects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.lane import LANES, RESERVED
from backchannel.protocol.subject import (
    command_subject,
    content_of,
    events_stream,
    inbox_of,
    service_subject,
    tool_subject,
)

ACCOUNT = "AGENTS"
WORKERS = "workers"
"""The queue group of a tool: each call goes to one of its workers."""
OF_WORKERS = frozenset({("grant", "redeem"), ("grant", "report")})
GRANT_KEY = ("query", "grant_key")
ANSWERED = 5
"""Seconds within which a worker may say that it takes a call."""
TO = "native.to."
"""What is published below this in APP arrives at the inbox that is named behind it."""

_INBOX = re.compile(r"_INBOX_([A-Za-z0-9][A-Za-z0-9_-]{0,63})((?:\.[A-Za-z0-9_-]{1,128}){1,3})")


def consumer_of(agent: str) -> str:
    return f"agent-{agent}"


def agent_of(consumer: str) -> str:
    return consumer.removeprefix("agent-")


def permissions(claims: Claims) -> Mapping[str, Mapping[str, object]]:
    """What the NATS server lets the bearer publish and subscribe to; it refuses everything else."""
    agent, group = claims.sub, claims.collaboration_group
    if claims.is_worker:
        return _of_worker(claims)
    stream, consumer = events_stream(group), consumer_of(agent)
    lanes = [lane for lane in LANES if lane not in RESERVED or lane in claims.lanes]
    published = [
        *(command_subject(group, lane, agent, "*") for lane in lanes),
        f"bc.{group}.svc.*.*",
        f"agents.api.consumer.next.{stream}.{consumer}",  # the server's mapping of MSG.NEXT
        f"agents.api.consumer.info.{stream}.{consumer}",
        f"$JS.ACK.{stream}.{consumer}.>",
    ]
    return {"pub": {"allow": published}, "sub": {"allow": [f"_INBOX_{agent}.>"]}}


def may_ask(claims: Claims, service: str, endpoint: str) -> bool:
    """Grants are used up and reported on by workers, and workers ask for nothing else."""
    return claims.is_worker == ((service, endpoint) in OF_WORKERS) or (service, endpoint) == GRANT_KEY


def _of_worker(claims: Claims) -> Mapping[str, Mapping[str, object]]:
    """Calls of its own tools, shared with other workers; one answer to each; and what it says of grants."""
    group = claims.collaboration_group
    calls = [f"{tool_subject(group, tool)} {WORKERS}" for tool in claims.offers]
    asked = [service_subject(group, *question) for question in (*sorted(OF_WORKERS), GRANT_KEY)]
    return {
        "pub": {"allow": [*asked, f"_INBOX_{claims.sub}.>"]},  # to itself: a look whether it is heard
        "sub": {"allow": [f"_INBOX_{claims.sub}.>", *calls]},
        "resp": {"max": 1, "ttl": ANSWERED * 10**9},
    }


def answer_to(agent: str, reply: str) -> str | None:
    """Where in APP an answer to this reply subject is published; None unless it is an inbox of the agent."""
    found = _INBOX.fullmatch(reply)
    return TO + reply if found is not None and found[1] == agent else None


def owner_of(reply: str) -> str | None:
    """Whose inbox a reply subject is; None for what is no inbox."""
    found = _INBOX.fullmatch(reply)
    return found[1] if found is not None else None


def filters(group: str, agent: str, contexts: Iterable[str], *, born: bool) -> list[str]:
    """The subjects that an agent sees. What was in its inbox before it first came is seen as well."""
    if not born:
        return [inbox_of(group, agent)]
    shared = [f"bc.{group}.evt.all.>", content_of(group, MAIN)]
    return sorted({inbox_of(group, agent), *shared, *(content_of(group, name) for name in contexts)})
