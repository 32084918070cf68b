"""Platforms to look at, and platforms to break."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backchannel.logger import Logger
from cli.main import run
from tests.cli.console import Answer, Up

Start = Callable[..., Up]


@pytest.fixture
def inside(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Answer]]:
    """`inside(*words)` runs a command in this process: for the many ways of saying it wrong."""
    for name in [name for name in os.environ if name.startswith("BACKCHANNEL_")]:
        monkeypatch.delenv(name)

    def once(*words: str | Path) -> Answer:
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    yield once
    Logger.silent = False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(*words)` runs a platform over a folder of this test and ends it with the test."""
    started: list[Up] = []

    def begin(*words: str, data: Path | None = None, env: dict[str, str] | None = None) -> Up:
        started.append(Up(data or tmp_path / "data", *words, env=env))
        return started[-1]

    yield begin
    for up in started:
        up.close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One platform with two groups for all tests of a module that only look at it."""
    up = Up(tmp_path_factory.mktemp("platform") / "data", "--groups", "main,night")
    try:
        assert up.ready
        yield up
        assert up.stop() == 0
    finally:
        up.close()
