"""The shelf finds what looking at every single sidebar would find."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from backchannel.domain.rights import Action, Asker, may
from backchannel.domain.sidebar import Sidebar
from backchannel.errors import BackchannelError
from backchannel.protocol.sidebar_status import SidebarStatus
from backchannel.service.shelf import Search, Shelf
from tests.domain.paper import Paper
from tests.histories import AGENTS, Step, steps

maybe_agent = st.one_of(st.none(), st.sampled_from(AGENTS))


def shelved(history: list[Step]) -> tuple[Shelf, dict[str, Sidebar]]:
    """A shelf that was given every state on the way, and the last states."""
    paper, shelf = Paper(), Shelf()
    for number, step in enumerate(history):
        try:
            paper.ask(step.sender, step.message(sorted(paper.ids()), f"s{number}"))
        except BackchannelError:
            continue
        for name in paper.ids():
            if (sidebar := paper.sidebar(name)) is not None:
                shelf.put(sidebar)
    return shelf, {name: sidebar for name in paper.ids() if (sidebar := paper.sidebar(name)) is not None}


@given(
    history=st.lists(steps, min_size=5, max_size=30),
    status=st.one_of(st.none(), st.sampled_from(SidebarStatus)),
    agent=maybe_agent,
    parent_number=st.one_of(st.none(), st.integers(0, 5)),
    asker=st.one_of(st.none(), st.sampled_from((*AGENTS, "nobody"))),
    charges=st.sets(st.sampled_from(AGENTS), max_size=2).map(frozenset),
    limit=st.integers(1, 4),
)
@settings(max_examples=150, deadline=None)
def test_a_search_finds_what_looking_at_every_sidebar_finds(
    history: list[Step],
    status: SidebarStatus | None,
    agent: str | None,
    parent_number: int | None,
    asker: str | None,
    charges: frozenset[str],
    limit: int,
) -> None:
    shelf, every = shelved(history)
    parent_id = None if parent_number is None else ["main", *sorted(every)][parent_number % (len(every) + 1)]
    access = frozenset(sorted(every)[:1])
    who = Asker(asker or "", "human", access, charges)

    def allowed(found: Sidebar) -> bool:
        return may(Action.LOOK, who, found, every.get(found.parent_id))

    limits = {} if asker is None else {"near": charges | {asker}, "access": access, "allowed": allowed}
    search = Search(status, agent, parent_id, **limits)  # type: ignore[arg-type]
    expected = sorted(name for name, sidebar in every.items() if search.wants(sidebar))
    found: list[str] = []
    while True:
        part = shelf.find(search, after=found[-1] if found else None, limit=limit)
        assert part.total == len(expected) and len(part.sidebars) <= limit
        found += [sidebar.sidebar_id for sidebar in part.sidebars]
        if not part.more:
            break
    assert found == expected


@given(st.lists(steps, min_size=5, max_size=30))
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_the_sidebars_there_are(history: list[Step]) -> None:
    shelf, every = shelved(history)
    assert {sidebar.sidebar_id: sidebar for sidebar in shelf} == every
    assert shelf.statuses() == Counter(sidebar.status.value for sidebar in every.values())
    put_in = Counter(pair for sidebar in every.values() if sidebar.open for pair in sidebar.put_in)
    assert all(shelf.put_in(by, agent) == count for (agent, by), count in put_in.items())
    assert shelf.busy() == Counter(
        agent for sidebar in every.values() if sidebar.open for agent in sidebar.members
    )
