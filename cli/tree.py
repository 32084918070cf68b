"""Drawing a tree with lines, from rows that name their parent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from cli.terminal import Row


def branches(root: Row, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    """Each row under `root` behind the lines that lead to it, parents first; every row at most once.

    A row whose parent is not among the rows hangs from the root of `main`, so that none is lost.
    """
    found = {str(row["sidebar_id"]): row for row in rows}
    below: dict[str, list[Row]] = defaultdict(list)
    for row in found.values():
        parent = str(row.get("parent_id") or "main")
        below[parent if parent in found or parent == root["sidebar_id"] else "main"].append(row)
    seen = {str(root["sidebar_id"])}
    yield "", root
    waiting = _drawn(below[str(root["sidebar_id"])], "")
    while waiting:
        lead, indent, row = waiting.pop()
        if str(row["sidebar_id"]) in seen:
            continue
        seen.add(str(row["sidebar_id"]))
        yield lead, row
        waiting += _drawn(below[str(row["sidebar_id"])], indent)


def _drawn(rows: list[Row], indent: str) -> list[tuple[str, str, Row]]:
    """Line, indent for what hangs below, and row; last first, as a stack wants them."""
    ordered = sorted(rows, key=lambda row: (str(row.get("created_at") or ""), str(row["sidebar_id"])))
    drawn = []
    for place, row in enumerate(ordered, start=1):
        is_last = place == len(ordered)
        drawn.append(
            (f"{indent}{'└─ ' if is_last else '├─ '}", f"{indent}{'   ' if is_last else '│  '}", row)
        )
    return drawn[::-1]
