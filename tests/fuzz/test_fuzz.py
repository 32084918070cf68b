"""Everything that takes bytes from outside: what broke it once, a short round, and a long campaign."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
ROUND = 400
LONG = {"short": 2.0}.get(os.environ.get("BACKCHANNEL_CAMPAIGN", ""), 240.0)
"""Seconds for each target."""


def seeds(name: str) -> list[bytes]:
    """What the mutations of a target begin with."""
    return [*TARGETS[name][1], *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))]


def tried(name: str, body: bytes) -> None:
    """Put it to its target. What breaks it is kept, to be added to the corpus."""
    try:
        TARGETS[name][0](body)
    except Exception as fault:
        kept = CORPUS / name / hashlib.sha256(body).hexdigest()[:16]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(body)
        raise AssertionError(f"{name} does not withstand {kept.name}: {fault!r}") from fault


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_right_and_what_broke_it_once_is_taken_or_refused_in_words(name: str) -> None:
    for seed in seeds(name):
        tried(name, seed)


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_round_of_garbage_is_refused_in_words(name: str) -> None:
    random = Random(name)
    begin = seeds(name)
    for _ in range(ROUND):
        tried(name, mutated(random.choice(begin), random))


@pytest.mark.campaign
@pytest.mark.timeout(LONG + 120)
@pytest.mark.parametrize("name", TARGETS)
def test_a_long_round_of_garbage_is_refused_in_words(name: str) -> None:
    seed = int(os.environ.get("BACKCHANNEL_SEED", time.time_ns()))
    random, begin, tries = Random(seed), seeds(name), 0
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        tried(name, mutated(random.choice(begin), random))
        tries += 1
    print(f"{name}: {tries} tries, seed {seed}")
