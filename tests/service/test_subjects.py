"""What is written and what is read may be stored in one piece unless the two meet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.jetstream.entry import covers
from backchannel.service.subjects import Subjects, is_pattern

TOKENS = st.sampled_from(["a", "b", "*"])
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=4).map(".".join) | st.lists(
    TOKENS, min_size=1, max_size=3
).map(lambda tokens: ".".join([*tokens, ">"]))


@given(st.lists(SUBJECTS, max_size=6), st.lists(SUBJECTS, max_size=6))
def test_whatever_covers_one_of_the_others_meets_them(ours: list[str], theirs: list[str]) -> None:
    known = Subjects()
    known.add(ours)
    touching = [
        (one, other)
        for one in ours
        for other in theirs
        if one == other or covers(one, other) or covers(other, one)
    ]
    if touching:
        assert known.meets(theirs)
    elif not any(map(is_pattern, ours)) or not any(map(is_pattern, theirs)):
        assert not known.meets(theirs)


def test_a_fence_around_one_life_does_not_keep_talk_elsewhere_apart() -> None:
    known = Subjects()
    known.add(["bc.main.evt.ctx.a.*.life", "bc.main.evt.ctx.a.normal.talk"])
    assert not known.meets(["bc.main.evt.ctx.b.*.life", "bc.main.evt.ctx.b.normal.talk"])
    assert not known.meets(["bc.main.evt.ctx.a.high.talk"])
    assert known.meets(["bc.main.evt.ctx.a.high.life"])
