"""Everybody who comes is counted, and everybody who goes is forgotten."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config import Config
from bridge.crowd import Crowd, Ticket, neighbourhood
from bridge.metrics import Metrics

METRICS = Metrics()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unknown", "unknown", True),
    ],
)
def test_a_host_with_many_ipv6_addresses_is_one_host(one: str, other: str, same: bool) -> None:
    assert (neighbourhood(one) == neighbourhood(other)) is same


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["enter", "handshake", "wire", "unknown wire", "known", "request", "waits", "retire", "leave"]
        ),
        st.integers(0, 9),
        st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"]),
    ),
    max_size=80,
)


@given(steps)
def test_whatever_happens_in_whatever_order_the_counts_return_to_nothing(
    steps: list[tuple[str, int, str]],
) -> None:
    crowd = Crowd(
        Config(
            max_connections=4,
            max_per_address=2,
            max_unauthenticated=2,
            max_unauthenticated_per_address=1,
            max_requests=3,
            max_requests_per_address=2,
            max_handshakes=2,
        ),
        METRICS,
        lambda: float("inf"),
    )
    here: list[Ticket] = []
    emptied = []
    crowd.on_empty = lambda: emptied.append(True)
    for step, number, address in steps:
        _take(crowd, here, step, number, address)
        assert crowd.sockets == len(here)
        assert 0 <= crowd.wires <= 4 and 0 <= crowd.unknown <= 2 and 0 <= crowd.requests <= 3
        assert all(0 < count <= 1 for count in crowd.unknown_from.values())
        assert all(0 < count <= 2 for count in crowd.requests_from.values())
        assert sum(crowd.unknown_from.values()) == crowd.unknown
        assert sum(crowd.requests_from.values()) == crowd.requests
        assert all(0 < count <= 2 for count in crowd.wires_from.values())
        assert sum(crowd.wires_from.values()) == crowd.wires
        assert all(0 < count <= 2 for count in crowd.handshakes_from.values())
    came = bool(here)
    for ticket in here:
        ticket.leave()
    assert (crowd.sockets, crowd.wires, crowd.unknown, crowd.requests) == (0, 0, 0, 0)
    assert crowd.wires_from == crowd.handshakes_from == crowd._sockets_from == {}
    assert crowd.unknown_from == crowd.requests_from == {}
    assert all(kind._from == {} for kind in crowd.yielding.values())
    assert emptied or not came


def _take(crowd: Crowd, here: list[Ticket], step: str, number: int, address: str) -> None:
    if step == "enter":
        ticket = crowd.enter(address)
        if ticket is not None:
            here.append(ticket)
    elif here:
        ticket = here[number % len(here)]
        match step:
            case "wire" | "unknown wire":
                ticket.become_wire(unknown=step == "unknown wire")
            case "handshake":
                ticket.retire()
                ticket.begin_handshake()
            case "known":
                ticket.become_known()
            case "request":
                ticket.become_request()
            case "waits":
                ticket.may_give_way(lambda: (here.remove(ticket), ticket.leave()))
            case "retire":
                ticket.retire()
            case "leave":
                here.remove(ticket)
                ticket.leave()


def test_a_process_that_may_have_few_sockets_has_one_for_a_newcomer_all_the_same() -> None:
    crowd = Crowd(Config(), METRICS, most=3)
    gone: list[str] = []
    for number in range(3):
        waiting = crowd.enter("10.0.0.1")
        assert waiting is not None
        waiting.may_give_way(
            lambda number=number, waiting=waiting: (gone.append(str(number)), waiting.leave())
        )
    newcomer = crowd.enter("10.0.0.2")
    assert newcomer is not None and gone == ["0"] and crowd.sockets == 3
    busy = [crowd.enter("10.0.0.2"), crowd.enter("10.0.0.2")]
    assert all(busy) and gone == ["0", "1", "2"]
    assert crowd.enter("10.0.0.3") is None  # all of them are being served


def test_a_process_asks_the_system_for_the_sockets_it_may_need() -> None:
    """In a process of its own: no allowance comes back."""
    told = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(told.stdout) == [300, 428, 372, 500]


LIMITED = """
import json, resource
from bridge.descriptors import sockets_for
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 500))
enough, now = sockets_for(300), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
less = sockets_for(10_000)
print(json.dumps([enough, now, less, resource.getrlimit(resource.RLIMIT_NOFILE)[0]]))
"""
