"""Subjects: where a message lies in NATS, and how a subject is taken apart again.

    bc.<group>.cmd.<lane>.<agent>.<type>
    bc.<group>.evt.ctx.<context>.<lane>.<kind>
    bc.<group>.evt.inbox.<agent>.<lane>.<kind>
    bc.<group>.evt.all.<lane>.<kind>
    bc.<group>.timer.sched.<service>.<name>.<key>     a timer that runs
    bc.<group>.timer.due.<service>.<name>.<key>       one that has come due
    bc.<group>.timer.order.<what>                     what is decided one after another in the whole group
    bc.<group>.timer.again.<service>                  an event that a service shall look at once more

Every part is an identifier that has passed the grammar; nothing here checks it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backchannel.protocol.lane import NEVER_DROPPED, RANK, RESERVED

ContextKind = Literal["life", "talk", "memory", "presence"]
InboxKind = Literal["mention", "result", "decision", "notice"]
EveryoneKind = Literal["broadcast", "presence"]

COMMANDS = "BC_COMMANDS"
AUDIT = "BC_AUDIT"
DEAD = "BC_DEAD"


def events_stream(group: str) -> str:
    return f"BC_EVENTS_{group}"


@dataclass(frozen=True, slots=True)
class InContext:
    """For everyone who is in a context."""

    context_id: str
    kind: ContextKind

    def subject(self, group: str, lane: str) -> str:
        return f"bc.{group}.evt.ctx.{self.context_id}.{lane}.{self.kind}"


@dataclass(frozen=True, slots=True)
class InInbox:
    """For one agent, whether or not it is there."""

    agent_id: str
    kind: InboxKind

    def subject(self, group: str, lane: str) -> str:
        return f"bc.{group}.evt.inbox.{self.agent_id}.{lane}.{self.kind}"


@dataclass(frozen=True, slots=True)
class ToEveryone:
    """For everyone in the group."""

    kind: EveryoneKind

    def subject(self, group: str, lane: str) -> str:
        return f"bc.{group}.evt.all.{lane}.{self.kind}"


Destination = InContext | InInbox | ToEveryone


@dataclass(frozen=True, slots=True)
class Located:
    """An event subject taken apart."""

    group: str
    to: Destination
    lane: str


def command_subject(group: str, lane: str, agent: str, kind: str) -> str:
    return f"bc.{group}.cmd.{lane}.{agent}.{kind}"


def locate(subject: str) -> Located | None:
    """Take an event subject apart; None for anything else in the stream, a timer for instance."""
    match subject.split("."):
        case ["bc", group, "evt", "ctx", context, lane, ("life" | "talk" | "memory" | "presence") as kind]:
            return Located(group, InContext(context, kind), lane)
        case ["bc", group, "evt", "inbox", who, lane, ("mention" | "result" | "decision" | "notice") as kind]:
            return Located(group, InInbox(who, kind), lane)
        case ["bc", group, "evt", "all", lane, ("broadcast" | "presence") as kind]:
            return Located(group, ToEveryone(kind), lane)
    return None


@dataclass(frozen=True, slots=True)
class Asked:
    """A command subject taken apart: who asks what, in which lane.

    `written_id` is the command's id as its sender wrote it, where that is known: answers name it so.
    """

    group: str
    lane: str
    agent: str
    type: str
    written_id: str | None = None


def asked(subject: str) -> Asked | None:
    match subject.split("."):
        case ["bc", group, "cmd", lane, agent, kind]:
            return Asked(group, lane, agent, kind)
    return None


def happened_in(group: str) -> str:
    """The filter that finds every event of a group, without its timers."""
    return f"bc.{group}.evt.>"


def life_of(group: str, context: str) -> str:
    """The filter that finds every event in the life of one sidebar."""
    return f"bc.{group}.evt.ctx.{context}.*.life"


def lives(group: str) -> str:
    """The filter that finds the life of every sidebar of a group."""
    return f"bc.{group}.evt.ctx.*.*.life"


def content_of(group: str, context: str) -> str:
    """The filter that finds all that lies in one context."""
    return f"bc.{group}.evt.ctx.{context}.>"


def said_in(group: str, context: str) -> tuple[str, str]:
    """The filters that find what was said in one context, without its life."""
    place = f"bc.{group}.evt.ctx.{context}.*"
    return f"{place}.talk", f"{place}.memory"


def sheddable_in(group: str) -> tuple[str, ...]:
    """The filters that find conversation: all events but those of which the state of sidebars is made."""
    said = said_in(group, "*")
    return (*said, f"bc.{group}.evt.inbox.>", f"bc.{group}.evt.all.>")


def shed_mark(group: str) -> str:
    """Where the log says up to which position its conversation was given up."""
    return order_subject(group, "shed")


def urgent_in(group: str) -> list[str]:
    """The filters that find what lies in the lanes of which nothing is ever left out."""
    lanes = sorted(NEVER_DROPPED, key=RANK.__getitem__)
    return [f"bc.{group}.evt.{where}.{lane.value}.*" for lane in lanes for where in ("*.*", "all")]


def emergencies_in(group: str) -> list[str]:
    """The filters that find the two top lanes. They lead to inboxes and to everyone, never into a context."""
    lanes = sorted(RESERVED, key=RANK.__getitem__)
    return [f"bc.{group}.evt.{where}.{lane.value}.*" for lane in lanes for where in ("inbox.*", "all")]


def inbox_of(group: str, agent: str) -> str:
    return f"bc.{group}.evt.inbox.{agent}.>"


def service_subject(group: str, service: str, endpoint: str) -> str:
    return f"bc.{group}.svc.{service}.{endpoint}"


def bridge_subject(group: str, name: str) -> str:
    """What bridges say to each other, to one of them by its name or to all; no agent may publish there."""
    return f"bc.{group}.bridge.{name}"


def tool_subject(group: str, tool: str) -> str:
    """Where granted calls of a tool are offered to its workers."""
    return f"bc.{group}.tool.{tool}"


def timer_subject(group: str, service: str, name: str, key: str) -> str:
    """Where a timer lies while it runs; another one there replaces it."""
    return f"bc.{group}.timer.sched.{service}.{name}.{key}"


def due_subject(group: str, service: str, name: str, key: str) -> str:
    """Where the server puts a timer when it comes due."""
    return f"bc.{group}.timer.due.{service}.{name}.{key}"


def dues_of(group: str, service: str) -> str:
    """The filter that finds every timer of a service that has come due."""
    return f"bc.{group}.timer.due.{service}.>"


def order_subject(group: str, what: str) -> str:
    """Every decision of one sort leaves its mark here, fenced by the mark before it."""
    return f"bc.{group}.timer.order.{what}"


def audit_of(group: str) -> str:
    """The filter that finds every record in a group's audit trail."""
    return f"bc.{group}.audit.>"


def operator_subject(group: str, what: str) -> str:
    """What only whoever runs the platform may ask of its services; no agent reaches these subjects."""
    return f"bc.{group}.operator.{what}"


def stage_mark(message_id: str, agent: str) -> str:
    """The mark that says how far an agent is with a message."""
    return f"stage.{message_id}.{agent}"


def claim_mark(message_id: str, agent: str) -> str:
    """The mark that says who has taken a message that was meant for an agent which was away."""
    return f"claim.{message_id}.{agent}"


def watch_mark(agent: str) -> str:
    """The mark that says up to where an agent was asked for what it has not acknowledged."""
    return f"watch.{agent}"


def again_subject(group: str, service: str) -> str:
    """Where a service is told to look at an event of the log once more."""
    return f"bc.{group}.timer.again.{service}"
