"""A budget of bytes lets no more through than it says, over any stretch, and never cheats the honest."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.budget import BURST_SECONDS, OF_A_DUPLICATE, ByteBudget
from backchannel.errors import RateLimited, TooLarge

ADA, BOB = ("main", "ada"), ("main", "bob")
RATE = 65_536
BURST = RATE * BURST_SECONDS
STEPS = st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, BURST + 10)), max_size=60)
"""Milliseconds that pass, then bytes that are asked for."""


def taken(budget: ByteBudget, size: int, now: float) -> bool:
    try:
        budget.charge(ADA, size, now)
    except (RateLimited, TooLarge):
        return False
    return True


@given(STEPS)
def test_what_is_let_through_is_what_a_ledger_of_exact_numbers_would_let_through(
    steps: list[tuple[int, int]],
) -> None:
    budget, credit, clock, before = ByteBudget(lambda: RATE), Fraction(BURST), 1_000, 1_000
    for pause, size in steps:
        clock += pause
        credit = min(Fraction(BURST), credit + Fraction((clock - before) * RATE, 1000))
        before = clock
        passed = taken(budget, size, clock / 1000)
        if abs(credit - size) > 1:  # nearer than a byte, the clock's own rounding decides
            assert passed == (size <= credit)
        credit -= size if passed else 0


@given(STEPS, st.integers(1, BURST))
def test_whoever_waits_as_long_as_told_is_let_through(steps: list[tuple[int, int]], size: int) -> None:
    budget, now = ByteBudget(lambda: RATE), 1_000.0
    for pause, asked in steps:
        now += pause / 1000
        taken(budget, asked, now)
    try:
        budget.charge(ADA, size, now)
    except RateLimited as refusal:
        assert refusal.retry_after is not None and 0 < refusal.retry_after <= BURST_SECONDS + 0.001
        budget.charge(ADA, size, now + refusal.retry_after + 1e-3)


@given(st.lists(st.integers(0, 4 * BURST), max_size=20))
def test_a_debt_is_paid_off_before_anything_else_is_decided(spent: list[int]) -> None:
    budget = ByteBudget(lambda: RATE)
    for size in spent:
        budget.spend(ADA, size, 5.0)
    debt = sum(spent) - BURST
    if debt <= 0:
        budget.require(ADA, 5.0)
        return
    with pytest.raises(RateLimited) as refusal:
        budget.require(ADA, 5.0)
    assert refusal.value.retry_after == pytest.approx(debt / RATE, abs=0.002)
    budget.require(ADA, 5.0 + (refusal.value.retry_after or 0) + 0.001)


def test_what_can_never_pass_is_too_large_and_takes_nothing() -> None:
    budget = ByteBudget(lambda: RATE)
    with pytest.raises(TooLarge, match="agent_bytes_per_second"):
        budget.charge(ADA, BURST + 1, 0.0)
    budget.charge(ADA, BURST, 0.0)


def test_a_repetition_costs_little_and_others_nothing() -> None:
    budget = ByteBudget(lambda: RATE)
    for _ in range(BURST // OF_A_DUPLICATE - 64):
        budget.charge(ADA, 60_000, 0.0)
        budget.repeated(ADA, 60_000)
    budget.charge(BOB, BURST, 0.0)
    with pytest.raises(RateLimited):
        budget.charge(ADA, BURST, 0.0)


def test_another_rate_counts_from_the_next_message_on() -> None:
    rate = RATE
    budget = ByteBudget(lambda: rate)
    budget.charge(ADA, BURST, 0.0)
    rate = 10 * RATE
    budget.charge(ADA, 10 * RATE, 1.0)
    with pytest.raises(RateLimited):
        budget.charge(ADA, 1, 1.0)


def test_budgets_of_those_who_were_not_here_for_long_are_forgotten() -> None:
    budget = ByteBudget(lambda: RATE, most=2)
    for name in "abc":
        budget.charge(("main", name), BURST, 0.0)
    budget.charge(("main", "a"), BURST, 0.0)
    with pytest.raises(RateLimited):
        budget.charge(("main", "c"), 1, 0.0)
