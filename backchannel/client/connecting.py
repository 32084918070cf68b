"""Connecting: what `Agent.connect` returns, to be awaited or to be entered."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar


class Leaves(Protocol):
    """Something that is left in good order."""

    async def close(self) -> None: ...


A = TypeVar("A", bound=Leaves)


class Connecting(Generic[A]):
    """``async with Agent.connect(…) as me:``, or ``me = await Agent.connect(…)`` and `Agent.close` later."""

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, A]]) -> None:
        self._begin = begin
        self._begun: A | None = None

    def __await__(self) -> Generator[Any, None, A]:
        return self._begin().__await__()

    async def __aenter__(self) -> A:
        self._begun = await self._begin()
        return self._begun

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun is not None:
            await self._begun.close()
