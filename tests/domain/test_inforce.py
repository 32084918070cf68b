"""Rights in force can only narrow what a token says."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.inforce import FREEDOM, InForce, ToolNarrowing, effective, why_refused
from backchannel.protocol.claims import Claims, Tools

NAMES = st.lists(st.sampled_from(["read", "write", "run", "send", "drop"]), unique=True)
LEVELS = st.sampled_from(list(FREEDOM))
SAID: dict[str, Any] = {"by": "operator", "at": "2026-01-01T00:00:00Z"}


@st.composite
def bearers(draw: st.DrawFn) -> Claims:
    tools = Tools(allowed=draw(NAMES), restricted=draw(NAMES), experimental=draw(NAMES), blocked=draw(NAMES))
    issued = draw(st.integers(0, 1000))
    return Claims(
        sub="ada",
        entity_id="ada",
        jti="1",
        iat=issued,
        exp=issued + 100,
        supervision_level=draw(LEVELS),
        tools=tools,
    )


@st.composite
def narrowings(draw: st.DrawFn) -> InForce:
    return InForce(
        level=draw(st.none() | LEVELS),
        tools=ToolNarrowing(removed=tuple(draw(NAMES)), blocked=tuple(draw(NAMES))),
        revoked_before=draw(st.none() | st.integers(0, 1000)),
        **SAID,
    )


@given(bearers(), narrowings())
def test_no_right_is_ever_won_by_what_is_in_force(claims: Claims, inforce: InForce) -> None:
    now = effective(claims, inforce)
    assert FREEDOM[now.supervision_level] <= FREEDOM[claims.supervision_level]
    for kind in ("allowed", "restricted", "experimental"):
        assert set(getattr(now.tools, kind)) <= set(getattr(claims.tools, kind))
    assert set(now.tools.blocked) >= set(claims.tools.blocked) | set(inforce.tools.blocked)
    same = {"supervision_level", "tools"}
    assert now.model_dump(exclude=same) == claims.model_dump(exclude=same)


@given(bearers(), narrowings())
def test_what_is_blocked_or_removed_is_nowhere_among_what_may_be_used(
    claims: Claims, inforce: InForce
) -> None:
    tools = effective(claims, inforce).tools
    usable = {*tools.allowed, *tools.restricted, *tools.experimental}
    assert usable.isdisjoint({*inforce.tools.blocked, *inforce.tools.removed})


@given(bearers(), narrowings())
def test_narrowing_twice_is_narrowing_once(claims: Claims, inforce: InForce) -> None:
    once = effective(claims, inforce)
    assert effective(once, inforce) is once


@given(bearers(), st.integers(0, 1000))
def test_exactly_the_tokens_from_before_are_revoked(claims: Claims, before: int) -> None:
    why = why_refused(claims, InForce(revoked_before=before, **SAID), now=claims.iat)
    assert (why is not None) == (claims.iat < before)


@given(bearers(), st.integers(0, 2000), st.integers(0, 1000))
def test_a_token_dated_ahead_that_may_be_from_before_is_revoked(
    claims: Claims, before: int, now: int
) -> None:
    """Its clock may have been wrong by as much as is forgiven, and not by more."""
    why = why_refused(claims, InForce(revoked_before=before, **SAID), now)
    earliest = claims.iat - 60 if claims.iat > now else claims.iat
    assert (why is not None) == (earliest < before)


@given(bearers(), st.integers(0, 1000))
def test_a_bar_ends_at_its_time(claims: Claims, now: int) -> None:
    why = why_refused(claims, InForce(barred_until=500, **SAID), now)
    assert (why is not None) == (now < 500)


def test_where_nothing_is_decided_the_token_counts_as_it_is() -> None:
    claims = Claims(sub="ada", entity_id="ada", jti="1", iat=1, exp=2)
    assert effective(claims, None) is claims
    assert effective(claims, InForce(**SAID)) is claims
    assert why_refused(claims, None, 0) is None
