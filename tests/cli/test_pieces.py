"""The small parts: when to start again, how logs stay small, how trees and tables are drawn."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from cli.content import gist
from cli.health import http_of, ws_of
from cli.listen import is_loopback, reachable
from cli.log import LONGEST_LINE, Lines, Log
from cli.restart import HEALTHY, LONGEST, SHORTEST, Backoff, Pacer, ended
from cli.terminal import age, clean, cut, shown, size, width
from cli.tree import branches


@given(some.lists(some.floats(0, 100), max_size=30))
def test_delays_grow_to_their_limit_and_begin_anew_after_a_good_run(lives: list[float]) -> None:
    backoff = Backoff()
    before = 0.0
    for lived in lives:
        delay = backoff.after(lived)
        assert SHORTEST <= delay <= LONGEST
        assert delay == SHORTEST if lived >= HEALTHY else delay >= before or before == LONGEST
        before = delay


@given(some.lists(some.floats(0, 30), max_size=50))
def test_a_crash_loop_is_told_at_most_once_a_minute_and_no_death_is_left_out(gaps: list[float]) -> None:
    pacer, now, told, times = Pacer(), 0.0, 0, []
    for gap in gaps:
        now += gap
        if count := pacer.died(now):
            told += count
            times.append(now)
    assert told + pacer.untold == len(gaps)
    assert not gaps or times[0] == gaps[0]
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(times))


def test_the_end_of_a_process_is_put_into_words() -> None:
    assert ended(3) == "ended with exit code 3"
    assert ended(-9) == "was ended by SIGKILL"


@given(some.lists(some.binary(max_size=200), max_size=20))
def test_lines_come_out_whole_however_they_are_cut(pieces: list[bytes]) -> None:
    lines = Lines()
    out = [line for piece in pieces for line in lines.feed(piece)] + lines.rest()
    whole = b"".join(pieces)
    assert b"\n".join(out).rstrip(b"\n") == whole.rstrip(b"\n") or whole.endswith(b"\n")


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    lines = Lines()
    out = [line for _ in range(100) for line in lines.feed(b"x" * 10_000)]
    assert sum(map(len, out)) + len(b"".join(lines.rest())) == 1_000_000
    assert all(len(line) < 2 * LONGEST_LINE for line in out)


def test_a_log_stays_within_its_bounds_and_keeps_the_newest(tmp_path: Path) -> None:
    log = Log(tmp_path / "x.log", limit=1000, kept=2)
    for number in range(1000):
        log.write(b"line %d" % number)
    log.close()
    assert {path.name for path in tmp_path.iterdir()} == {"x.log", "x.log.1", "x.log.2"}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3 * 1100
    newest = (tmp_path / "x.log.1").read_text() + (tmp_path / "x.log").read_text()
    assert newest.endswith("line 999\n")


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for word in (b"one", b"two"):
        log = Log(tmp_path / "x.log")
        log.write(word)
        log.close()
    assert (tmp_path / "x.log").read_text() == "one\ntwo\n"


def row(name: str, parent: str = "main") -> dict[str, Any]:
    return {"sidebar_id": name, "parent_id": parent}


def drawn(rows: list[dict[str, Any]], root: str = "main") -> list[str]:
    return [lead + str(found["sidebar_id"]) for lead, found in branches({"sidebar_id": root}, rows)]


def test_a_tree_has_lines_to_every_branch() -> None:
    rows = [row("a"), row("b", "a"), row("c", "a"), row("d", "b"), row("e")]
    assert drawn(rows) == ["main", "├─ a", "│  ├─ b", "│  │  └─ d", "│  └─ c", "└─ e"]
    assert drawn(rows, "a") == ["a", "├─ b", "│  └─ d", "└─ c"]


def test_a_sidebar_whose_parent_is_unknown_is_not_lost() -> None:
    assert drawn([row("orphan", "gone")]) == ["main", "└─ orphan"]


@given(
    some.lists(some.tuples(some.sampled_from("abcdef"), some.sampled_from(["main", *"abcdefg"])), max_size=20)
)
def test_a_tree_ends_and_shows_nothing_twice_whatever_the_rows_say(pairs: list[tuple[str, str]]) -> None:
    names = [line.lstrip("│├└─ ") for line in drawn([row(*pair) for pair in pairs])]
    assert len(names) == len(set(names)) <= 7


@given(some.text())
def test_what_comes_from_outside_cannot_move_the_cursor(text: str) -> None:
    assert all(letter.isprintable() for letter in clean(text))


@given(some.text(some.characters(categories=["L", "N", "P", "Zs"])), some.integers(2, 80))
def test_a_cut_line_fits(text: str, size: int) -> None:
    assert width(cut(text, size)) <= size
    assert cut(text, None) == text


def test_values_are_shown_in_one_line() -> None:
    values: tuple[object, ...] = (None, "", [], True, False, ["a", "b"], 0, "x\ny")
    assert [shown(value) for value in values] == ["-", "-", "-", "yes", "no", "a, b", "0", "x y"]
    assert [size(number) for number in (0, 999, 1000, 2_500_000, 7e15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "2.5 MB",
        "7000.0 TB",
    ]


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("2026-01-31T12:00:00.000Z", "0s"),
        ("2026-01-31T11:59:01Z", "59s"),
        ("2026-01-31T11:00:30Z", "59m30s"),
        ("2026-01-31T09:46:00Z", "2h14m"),
        ("2026-01-28T09:00:00Z", "3d3h"),
        ("2027-01-01T00:00:00Z", "0s"),
        ("", "-"),
        (None, "-"),
        ("long ago", "long ago"),
    ],
)
def test_an_age_is_told_in_two_units(moment: str | None, told: str) -> None:
    assert age(moment, datetime(2026, 1, 31, 12, tzinfo=UTC)) == told


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"type": "sidebar_message", "content": "hello"}, "hello"),
        ({"type": "memory_update", "exchange": {"content": {"a": 1}}}, '{"a": 1}'),
        ({"type": "mention_route", "target_agents": ["bob"], "message": "come"}, "@bob come"),
        ({"type": "sidebar_status_update", "new_status": "paused", "reason": "night"}, "→ paused night"),
        ({"type": "ping"}, ""),
        ({"type": "sidebar_message", "content": ""}, ""),
    ],
)
def test_an_event_has_a_gist(event: dict[str, Any], told: str) -> None:
    assert gist(event) == told


@pytest.mark.parametrize(
    ("url", "http", "ws"),
    [
        ("ws://h:1/ws", "http://h:1", "ws://h:1/ws"),
        ("http://h:1", "http://h:1", "ws://h:1/ws"),
        ("https://h/", "https://h", "wss://h/ws"),
        ("wss://h/at/ws", "https://h", "wss://h/at/ws"),
        ("h:1", "http://h:1", "ws://h:1/ws"),
    ],
)
def test_any_address_of_a_bridge_gives_the_others(url: str, http: str, ws: str) -> None:
    assert (http_of(url), ws_of(url)) == (http, ws)


def test_hosts_are_told_apart() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "")] == [False] * 5
    assert [reachable(host) for host in ("0.0.0.0", "::", "::1", "h")] == ["127.0.0.1", "[::1]", "[::1]", "h"]
