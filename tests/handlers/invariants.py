"""What must hold of a log and of those who read it, whatever was asked, killed, repeated or overtaken."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backchannel.domain.sidebar import MOVES, Sidebar, fold
from backchannel.jetstream.read import Record
from backchannel.protocol.json_object import read_object
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.protocol.subject import InContext, InInbox, locate
from backchannel.service.lives import event_of
from tests.handlers.crew import Command
from tests.handlers.witness import PLAIN

MERGE = "sidebar_merge"


class Account:
    """A stretch of the log, taken apart by sidebar and by command."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.lives: dict[str, list[Record]] = defaultdict(list)
        self.events: dict[str, list[Record]] = defaultdict(list)
        self.results: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        self.notices: list[dict[str, Any]] = []
        self.said: dict[int, dict[str, Any]] = {}
        for record in records:
            self._sort(record)

    def _sort(self, record: Record) -> None:
        located = locate(record.subject)
        if located is None:
            return
        said = self.said[record.sequence] = read_object(record.payload)
        match located.to:
            case InInbox(agent, "result"):
                self.results[f"{agent}:{said['in_reply_to']}"].append((record.sequence, said))
            case InInbox():
                self.notices.append(said)
            case InContext(context, kind):
                if kind == "life":
                    self.lives[context].append(record)
                if cause := said.get("cause"):
                    self.events[cause].append(record)

    def sidebars(self) -> dict[str, Sidebar]:
        """Folded from the log alone."""
        folded = {
            name: fold((record.sequence, event_of(record)) for record in life)
            for name, life in self.lives.items()
        }
        return {name: sidebar for name, sidebar in folded.items() if sidebar is not None}


def check(
    records: Sequence[Record], asked: Iterable[Command], views: Mapping[str, Mapping[str, Any]]
) -> None:
    account = Account(records)
    sidebars = account.sidebars()
    every_command_has_exactly_one_result(account, asked)
    nothing_is_stored_or_done_twice(account)
    what_a_command_does_lies_together_with_its_result(account)
    a_merge_is_whole(account)
    only_moves_of_the_table_happen(account)
    parents_and_children_agree(sidebars)
    every_view_is_the_fold_of_the_log(sidebars, views)


def every_command_has_exactly_one_result(account: Account, asked: Iterable[Command]) -> None:
    expected = {f"{command.agent}:{command.message.message_id}" for command in asked}
    counted = {key: len(results) for key, results in account.results.items()}
    assert counted == dict.fromkeys(expected, 1)
    assert account.notices == [], "something was set aside"


def nothing_is_stored_or_done_twice(account: Account) -> None:
    ids = Counter((record.headers or {}).get("Nats-Msg-Id") for record in account.records)
    assert [found for found, count in ids.items() if found is not None and count > 1] == []
    for cause, events in account.events.items():
        done = Counter(
            (record.subject, account.said[record.sequence]["type"], about(account, record))
            for record in events
        )
        assert max(done.values()) == 1, (cause, done)


def about(account: Account, record: Record) -> Any:
    said = account.said[record.sequence]
    return said.get("child_sidebar_id") or said.get("sidebar_id") or said.get("new_sidebar_id")


def what_a_command_does_lies_together_with_its_result(account: Account) -> None:
    """One stretch of the log, the result last; nothing at all of what was refused."""
    for cause, events in account.events.items():
        ((place, result),) = account.results[cause]
        assert result["status"] == "success", (cause, result)
        first = min(record.sequence for record in events)
        between = [record for record in account.records if first <= record.sequence < place]
        strangers = [record for record in between if record not in events and locate(record.subject)]
        assert strangers == [], cause
        assert max(record.sequence for record in events) < place


def a_merge_is_whole(account: Account) -> None:
    """Its parent has been told exactly if it has ended, and all of that in one stretch."""
    for cause, events in account.events.items():
        said = [account.said[record.sequence] for record in events]
        merges = [event for event in said if event["type"] == MERGE]
        closed = [event for event in said if event["type"] == "sidebar_closed"]
        if not merges and not any(event["final_status"] == "merged" for event in closed):
            continue
        assert len(merges) == 1, cause
        merge = merges[0]
        own = [event for event in closed if event["sidebar_id"] == merge["sidebar_id"]]
        assert own and own[0]["final_status"] == "merged", cause
        assert merge["consolidated_findings"] == own[0]["consolidated_findings"]
        ended = {event["sidebar_id"] for event in closed} - {merge["sidebar_id"]}
        told = {child["sidebar_id"] for child in merge["child_results"] if "ended_with_parent" in child}
        assert ended == told, cause


def only_moves_of_the_table_happen(account: Account) -> None:
    for name, life in account.lives.items():
        status: SidebarStatus | None = None
        for record in life:
            after = SidebarStatus(account.said[record.sequence]["status"])
            assert status in (None, after) or after in MOVES[status], (name, status, after)
            status = after


def parents_and_children_agree(sidebars: Mapping[str, Sidebar]) -> None:
    for sidebar in sidebars.values():
        children = {found.sidebar_id for found in sidebars.values() if found.parent_id == sidebar.sidebar_id}
        assert {child for child, _ in sidebar.children} == children
        if sidebar.open:
            assert set(sidebar.open_children) == {child for child in children if sidebars[child].open}
        assert len(set(sidebar.members)) == len(sidebar.members)


def every_view_is_the_fold_of_the_log(
    sidebars: Mapping[str, Sidebar], views: Mapping[str, Mapping[str, Any]]
) -> None:
    folded = {name: PLAIN.dump_python(sidebar, mode="json") for name, sidebar in sidebars.items()}
    for witness, seen in views.items():
        assert seen == folded, f"{witness} sees something else than the log says"
