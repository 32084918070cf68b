"""Sidebars in memory, found by status, participant and parent without looking at every one."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass

from backchannel.domain.sidebar import Sidebar
from backchannel.protocol.sidebar_status import SidebarStatus


@dataclass(frozen=True, slots=True)
class Search:
    """Which sidebars are wanted; None stands for any.

    ``near`` limits them to what can concern one of these agents: what they are or were in, what lies right
    below it, and what is in ``access``. ``allowed`` has the last word on each of those.
    """

    status: SidebarStatus | None = None
    agent: str | None = None
    parent_id: str | None = None
    near: Set[str] | None = None
    access: Set[str] = frozenset()
    allowed: Callable[[Sidebar], bool] | None = None

    def wants(self, sidebar: Sidebar) -> bool:
        return (
            (self.status is None or sidebar.status is self.status)
            and (self.agent is None or sidebar.has(self.agent))
            and (self.parent_id is None or sidebar.parent_id == self.parent_id)
            and (self.allowed is None or self.allowed(sidebar))
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Some of what was found, ordered by name; ``total`` is how many there are in all."""

    sidebars: list[Sidebar]
    total: int
    more: bool


class Shelf:
    """Every sidebar of a group in its newest state."""

    def __init__(self, sidebars: Mapping[str, Sidebar] | None = None) -> None:
        self._sidebars: dict[str, Sidebar] = {}
        self._names: list[str] = []
        self._by_status: dict[SidebarStatus, set[str]] = defaultdict(set)
        self._by_member: dict[str, set[str]] = defaultdict(set)
        self._by_parent: dict[str, set[str]] = defaultdict(set)
        self._by_acquaintance: dict[str, set[str]] = defaultdict(set)
        self._busy: dict[str, int] = defaultdict(int)
        self._put_in: Counter[tuple[str, str]] = Counter()
        for sidebar in (sidebars or {}).values():
            self.put(sidebar)

    def __len__(self) -> int:
        return len(self._sidebars)

    def __iter__(self) -> Iterator[Sidebar]:
        return iter(self._sidebars.values())

    def get(self, name: str) -> Sidebar | None:
        return self._sidebars.get(name)

    def copy(self) -> dict[str, Sidebar]:
        return dict(self._sidebars)

    def put(self, sidebar: Sidebar) -> None:
        """A new sidebar, or the next state of one that is here."""
        name = sidebar.sidebar_id
        former = self._sidebars.get(name)
        if former is None:
            insort(self._names, name)
            self._by_parent[sidebar.parent_id].add(name)
        elif former.status is not sidebar.status:
            self._by_status[former.status].discard(name)
        self._by_status[sidebar.status].add(name)
        if former is None or (former.members, former.open) != (sidebar.members, sidebar.open):
            self._seat(former, sidebar)
        if former is None or (former.put_in, former.open) != (sidebar.put_in, sidebar.open):
            self._count_put_in(former, sidebar)
        self._sidebars[name] = sidebar

    def statuses(self) -> dict[str, int]:
        """How many sidebars there are in each status that occurs."""
        return {status.value: len(names) for status, names in self._by_status.items() if names}

    def busy(self) -> dict[str, int]:
        """How many open sidebars each agent is in."""
        return {agent: count for agent, count in self._busy.items() if count}

    def put_in(self, by: str, agent: str) -> int:
        """In how many open sidebars an agent is by another's doing, without having done anything there."""
        return self._put_in[agent, by]

    def together(self, one: str, other: str) -> bool:
        """Whether two agents are in an open sidebar, and neither was put in by the other alone."""
        shared = self._by_member.get(one, set()) & self._by_member.get(other, set())
        known = (self._sidebars[name] for name in shared)
        pairs = {(one, other), (other, one)}
        return any(found.open and pairs.isdisjoint(found.put_in) for found in known)

    def find(self, search: Search, *, after: str | None, limit: int) -> Part:
        """The first ``limit`` that are wanted and whose names come after ``after``."""
        narrowest = self._narrowest(search)
        if narrowest is None:
            start = bisect_right(self._names, after) if after is not None else 0
            names = self._names[start : start + limit]
            found = [self._sidebars[name] for name in names]
            return Part(found, len(self._names), start + len(names) < len(self._names))
        every = self._wanted(search, narrowest)
        rest = [sidebar for sidebar in every if after is None or sidebar.sidebar_id > after]
        rest.sort(key=lambda sidebar: sidebar.sidebar_id)
        return Part(rest[:limit], len(every), len(rest) > limit)

    def every(self, search: Search) -> list[Sidebar]:
        """All that are wanted, in no order."""
        narrowest = self._narrowest(search)
        return list(self) if narrowest is None else self._wanted(search, narrowest)

    def _wanted(self, search: Search, names: Set[str]) -> list[Sidebar]:
        return [sidebar for name in names if search.wants(sidebar := self._sidebars[name])]

    def _narrowest(self, search: Search) -> Set[str] | None:
        """The smallest set that holds all that is wanted; None if everything is."""
        sets: list[Set[str]] = []
        if search.status is not None:
            sets.append(self._by_status.get(search.status, set()))
        if search.agent is not None:
            sets.append(self._by_member.get(search.agent, set()))
        if search.parent_id is not None:
            sets.append(self._by_parent.get(search.parent_id, set()))
        if search.near is not None:
            sets.append(self._near(search.near, search.access))
        return min(sets, key=len) if sets else None

    def _near(self, agents: Set[str], access: Set[str]) -> Set[str]:
        own = {name for agent in agents for name in self._by_acquaintance.get(agent, ())}
        below = {child for name in own for child in self._by_parent.get(name, ())}
        return own | below | {name for name in access if name in self._sidebars}

    def _count_put_in(self, former: Sidebar | None, sidebar: Sidebar) -> None:
        if former is not None and former.open:
            self._put_in.subtract(former.put_in)
        if sidebar.open:
            self._put_in.update(sidebar.put_in)
        for pair in (*(former.put_in if former is not None else ()), *sidebar.put_in):
            if not self._put_in[pair]:
                del self._put_in[pair]

    def _seat(self, former: Sidebar | None, sidebar: Sidebar) -> None:
        for agent in former.members if former else ():
            self._by_member[agent].discard(sidebar.sidebar_id)
            self._busy[agent] -= bool(former and former.open)
        for agent in sidebar.members:
            self._by_member[agent].add(sidebar.sidebar_id)
            self._by_acquaintance[agent].add(sidebar.sidebar_id)
            self._busy[agent] += sidebar.open
        for agent in (*sidebar.invited, *([sidebar.coordinator] if sidebar.coordinator else ())):
            self._by_acquaintance[agent].add(sidebar.sidebar_id)
