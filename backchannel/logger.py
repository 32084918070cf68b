"""Loggers of the library: what is behind them is loaded with the first line that is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Logger:
    """A logger of structlog, made when it is used: to load structlog takes longer than most commands."""

    silent = False
    """Whether nothing is said by any of them: the output of a command belongs to its result."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._made: Any = None

    def __getattr__(self, level: str) -> Callable[..., Any]:
        return _unsaid if Logger.silent else getattr(self._behind(), level)

    def _behind(self) -> Any:
        if self._made is None:
            import structlog

            self._made = structlog.get_logger(self._name)
        return self._made


def _unsaid(event: str, **fields: Any) -> None:
    """What becomes of a line while all of them are silent."""
