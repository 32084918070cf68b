"""Copies of the trail: whatever is done to one of them, a check finds it and says where."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchannel.domain.audit import GENESIS, Link, chained
from backchannel.domain.audit.check import Check, Receipt
from backchannel.domain.audit.proof import Claim
from backchannel.service.audit.segment import Segments, files_of
from backchannel.service.audit.signature import Signer, genuine
from backchannel.service.audit.table import FILE, Table
from backchannel.service.audit.verify import Verdict, Verification

SIGNER = Signer(b"s" * 32)
TRUSTED = partial(genuine, public=SIGNER.public)
COUNT = 30


def fields(number: int, **changed: object) -> dict[str, object]:
    return {
        "group": "main",
        "at": f"2026-01-0{1 + number // 12}T00:00:00.000Z",
        "id": f"id-{number}",
        "category": "tool",
        "entity": "alice",
        "action": "execute",
        "phase": "fact",
        "of": None,
        "facts": {"number": number},
        "source": "test",
        **changed,
    }


def seal(position: int, own: str) -> dict[str, object]:
    claim = Claim("main", position, own, "2026-01-01T00:00:00.000Z")
    facts = SIGNER.sign(claim).facts
    return fields(position, category="platform", entity="trail", action="checkpoint", facts=facts)


def linked(contents: Sequence[Callable[[int, str], dict[str, object]]]) -> list[Link]:
    links: list[Link] = []
    for content in contents:
        position, own = (links[-1].position, links[-1].hash) if links else (0, GENESIS)
        links.append(chained(content(position, own), position + 1, own))
    return links


def chain() -> list[Link]:
    """Thirty records, each tenth a checkpoint."""
    return linked([seal if number % 10 == 9 else lambda n, _: fields(n) for number in range(COUNT)])


LINKS = chain()


def fill(folder: Path, links: Sequence[Link] = LINKS) -> None:
    for copy in (Segments(folder, "main"), Table(folder, "main")):
        copy.open()
        copy.append(links[:7])
        copy.append(links[7:])
        copy.close()


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intact")
    fill(folder)
    return folder


def verified(folder: Path) -> Verdict:
    """The copies in a folder, against each other."""
    return asyncio.run(Verification(None, folder, "main", TRUSTED).run())


def test_intact_copies_are_found_intact_and_alike(intact: Path) -> None:
    verdict = verified(intact)
    segments, table = verdict.receipts
    assert verdict.intact, verdict.shown()
    assert (segments.records, segments.first, segments.last) == (COUNT, 1, COUNT)
    assert (segments.digest, segments.hash) == (table.digest, table.hash)
    assert (segments.checkpoints, segments.sealed) == (3, COUNT - 1)


def test_a_new_file_begins_with_every_day(intact: Path) -> None:
    names = [path.name for path in files_of(intact / "segments" / "main")]
    assert names == ["000000000001.jsonl", "000000000013.jsonl", "000000000025.jsonl"]


def test_nobody_else_may_read_a_copy(intact: Path) -> None:
    for path in [*files_of(intact / "segments" / "main"), intact / FILE]:
        assert path.stat().st_mode & 0o777 == 0o600


@given(st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_single_change_of_a_segment_file_goes_unseen(intact: Path, data: st.DataObject) -> None:
    with TemporaryDirectory() as place:
        folder = Path(shutil.copytree(intact, Path(place) / "audit"))
        path = data.draw(st.sampled_from(files_of(folder / "segments" / "main")))
        before = path.read_bytes()
        path.write_bytes(after := data.draw(changed(before)))
        verdict = verified(folder)
        assert (after == before) == verdict.intact


@st.composite
def changed(draw: st.DrawFn, before: bytes) -> bytes:
    """One byte flipped, put in or taken out; the end cut off; a line removed, doubled or moved."""
    place = draw(st.integers(0, len(before) - 1))
    lines = before.splitlines(keepends=True)
    one, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
    match draw(st.sampled_from(["flip", "insert", "remove", "cut", "drop", "double", "swap"])):
        case "flip":
            return before[:place] + bytes([before[place] ^ draw(st.integers(1, 255))]) + before[place + 1 :]
        case "insert":
            return before[:place] + bytes([draw(st.integers(0, 255))]) + before[place:]
        case "remove":
            return before[:place] + before[place + 1 :]
        case "cut":
            return before[:place]
        case "drop":
            return b"".join(lines[:one] + lines[one + 1 :])
        case "double":
            return b"".join([*lines[: one + 1], *lines[one:]])
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


@given(st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_single_change_of_a_row_goes_unseen(intact: Path, data: st.DataObject) -> None:
    with TemporaryDirectory() as place:
        folder = Path(shutil.copytree(intact, Path(place) / "audit"))
        row = data.draw(st.integers(1, COUNT))
        body = LINKS[row - 1].body
        where = data.draw(st.integers(0, len(body) - 1))
        flipped = body[:where] + bytes([body[where] ^ data.draw(st.integers(1, 255))]) + body[where + 1 :]
        statement, values = data.draw(
            st.sampled_from(
                [
                    ("DELETE FROM records WHERE position = ?", (row,)),
                    ("UPDATE records SET body = ? WHERE position = ?", (flipped, row)),
                    ("UPDATE records SET position = position + 1000 WHERE position = ?", (row,)),
                    ("UPDATE records SET position = -position WHERE position = ?", (row,)),
                    ("UPDATE records SET chain = 'other' WHERE position = ?", (row,)),
                    ("INSERT INTO records VALUES ('main', ?, ?)", (COUNT + row, body)),
                ]
            )
        )
        with sqlite3.connect(folder / FILE) as database:
            assert database.execute(statement, values).rowcount == 1
        database.close()
        assert not verified(folder).intact


@given(st.integers(1, COUNT - 1))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_record_rewritten_in_all_copies_with_new_hashes_breaks_a_seal(intact: Path, position: int) -> None:
    """Whoever may write everywhere can make a chain that holds together, but cannot sign it."""
    contents = [dict(link.fields) for link in LINKS]
    contents[position - 1]["facts"] = {"number": 666}
    rewritten = linked([partial(as_said, content) for content in contents])
    with TemporaryDirectory() as place:
        fill(Path(place), rewritten)
        verdict = verified(Path(place))
    assert not verdict.intact
    kinds = {problem.kind for receipt in verdict.receipts for problem in receipt.problems}
    assert kinds == {"checkpoint"}


def as_said(content: dict[str, object], position: int, own: str) -> dict[str, object]:
    placed = ("v", "position", "previous", "hash")
    return {name: value for name, value in content.items() if name not in placed}


def judged(links: Sequence[Link], anchors: dict[int, str] | None = None, until: int = COUNT) -> Receipt:
    check = Check("one", "main", TRUSTED, anchors)
    for link in links:
        check.take(link.body, f"row {link.position}")
    return check.finish(until)


def test_what_was_cut_off_everywhere_is_missed_by_the_anchor() -> None:
    anchors = {LINKS[18].position: LINKS[18].hash}
    assert judged(LINKS, anchors).problem_count == 0
    (problem,) = judged(LINKS[:15], anchors, until=15).problems
    assert (problem.kind, problem.position) == ("anchor", 19)


def test_another_chain_is_not_the_anchored_one() -> None:
    other = linked([lambda n, _: fields(n, source="forger") for _ in range(COUNT)])
    (problem,) = judged(other, {5: LINKS[4].hash}).problems
    assert (problem.kind, problem.position) == ("anchor", 5)


def test_the_place_of_a_change_is_named(intact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(intact, tmp_path / "audit"))
    path = files_of(folder / "segments" / "main")[1]
    text = path.read_bytes().replace(b'"number":14', b'"number":41', 1)
    path.write_bytes(text)
    first = verified(folder).first()
    assert first is not None
    assert (first["copy"], first["position"], first["kind"]) == ("segments", 15, "damaged")
    assert first["where"] == "000000000013.jsonl, line 3"


def test_a_torn_line_is_taken_away_when_writing_goes_on(tmp_path: Path) -> None:
    segments = Segments(tmp_path, "main")
    segments.open()
    segments.append(LINKS[:5])
    segments.close()
    (path,) = files_of(tmp_path / "segments" / "main")
    with path.open("ab") as file:
        file.write(LINKS[5].body[:40])
    last, faults = segments.open()
    assert (last, faults) == (LINKS[4], [])
    segments.append(LINKS[5:])
    segments.close()
    Table(tmp_path, "main").open()
    lines = [
        line for path in files_of(tmp_path / "segments" / "main") for line in path.read_bytes().splitlines()
    ]
    assert lines == [link.body for link in LINKS]


def test_a_file_that_others_changed_is_left_alone_and_told_of(tmp_path: Path) -> None:
    segments = Segments(tmp_path, "main")
    segments.open()
    segments.append(LINKS[:5])
    (path,) = files_of(tmp_path / "segments" / "main")
    os.truncate(path, path.stat().st_size - 10)
    left = path.read_bytes()
    assert segments.append(LINKS[5:8]) == ["000000000001.jsonl was changed by somebody else"]
    segments.close()
    assert path.read_bytes() == left
    assert [found.name for found in files_of(path.parent)] == ["000000000001.jsonl", "000000000006.jsonl"]


def test_a_damaged_end_is_kept_as_it_is_and_told_of(tmp_path: Path) -> None:
    segments = Segments(tmp_path, "main")
    segments.open()
    segments.append(LINKS[:5])
    segments.close()
    (path,) = files_of(tmp_path / "segments" / "main")
    path.write_bytes(left := path.read_bytes().replace(b'"number":4', b'"number":9'))
    last, faults = segments.open()
    assert last == LINKS[3]
    assert len(faults) == 1 and path.name in faults[0]
    segments.append(LINKS[4:8])
    segments.close()
    assert path.read_bytes() == left
    assert not verified(tmp_path).intact
