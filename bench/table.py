"""Figures as a table: one row for each thing measured, one column for each size, and how much it grew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def median(figures: Sequence[float]) -> float:
    return percentile(figures, 0.5)


def percentile(figures: Sequence[float], share: float) -> float:
    """The figure below which this share of them lies."""
    ordered = sorted(figures)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def table(title: str, sizes: Sequence[int], rows: Mapping[str, Sequence[float]]) -> str:
    """Markdown. The last column is the figure at the largest size over that at the smallest."""
    head = [title, *(f"{size:,}" for size in sizes), "grew"]
    lines = [head, ["---", *["---:"] * (len(sizes) + 1)]]
    for name, figures in rows.items():
        grew = figures[-1] / figures[0] if figures[0] else 0.0
        lines.append([name, *(f"{figure:,.2f}" for figure in figures), f"x {grew:.1f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
