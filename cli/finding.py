"""What a check found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`. `outcome`: good, bad, or skipped because what it needs does not run."""

    check: str
    outcome: Literal["good", "bad", "skipped"]
    detail: str
    hint: str | None = None


def good(check: str, detail: str) -> Finding:
    return Finding(check, "good", detail)


def bad(check: str, detail: str, hint: str | None = None) -> Finding:
    return Finding(check, "bad", detail, hint)


def skipped(check: str, detail: str) -> Finding:
    return Finding(check, "skipped", detail)
