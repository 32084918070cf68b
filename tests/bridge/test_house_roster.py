"""The roster knows who is here, and forgets who has left."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.roster import Roster


@dataclass(eq=False)
class Guest:
    active: bool = True
    purpose: str = "primary"
    agent: str = "ada"

    @property
    def owner(self) -> tuple[str, str]:
        return "main", self.agent


def test_agents_and_groups_do_not_get_in_each_others_way() -> None:
    roster, bob = Roster[Guest](), Guest(agent="bob")
    roster.enter(bob)
    assert roster.of("main", "bob") == [bob]
    assert roster.of("main", "ada") == roster.of("other", "bob") == []


def test_who_has_left_is_forgotten() -> None:
    roster, guest = Roster[Guest](), Guest()
    roster.enter(guest)
    assert roster.leave(guest)
    assert not roster.leave(guest)
    assert roster.of("main", "ada") == []
