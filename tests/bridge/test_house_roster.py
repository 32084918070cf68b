"""The roster knows who must go before one more may come."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.roster import Roster


@dataclass(eq=False)
class Guest:
    active: bool
    purpose: str = "primary"
    agent: str = "ada"

    @property
    def owner(self) -> tuple[str, str]:
        return "main", self.agent


def house(*guests: Guest) -> Roster[Guest]:
    roster = Roster[Guest]()
    for guest in guests:
        roster.enter(guest)
    return roster


def test_there_is_room_for_one_active_connection_and_one_more() -> None:
    active, watching = Guest(True), Guest(False)
    assert house().rivals("main", "ada", active=True) == []
    assert house(active).rivals("main", "ada", active=False) == []
    assert house(active).rivals("main", "ada", active=True) == [active]
    assert house(watching).rivals("main", "ada", active=True) == []
    assert house(active, watching).rivals("main", "ada", active=False) == [active, watching]
    assert house(active, watching).rivals("main", "ada", active=True) == [active]


def test_agents_and_groups_do_not_get_in_each_others_way() -> None:
    roster = house(Guest(True, agent="bob"))
    assert roster.rivals("main", "ada", active=True) == []
    assert roster.rivals("other", "bob", active=True) == []


def test_two_connections_never_share_a_purpose() -> None:
    assert house().purpose("main", "ada", "primary") == "primary"
    assert house(Guest(True, "primary")).purpose("main", "ada", "primary") == "backup"
    assert house(Guest(True, "observer")).purpose("main", "ada", "observer") == "backup"
    assert house(Guest(True, "backup")).purpose("main", "ada", "backup") == "observer"


def test_who_has_left_is_forgotten() -> None:
    guest = Guest(True)
    roster = house(guest)
    assert roster.leave(guest)
    assert not roster.leave(guest)
    assert roster.of("main", "ada") == []
