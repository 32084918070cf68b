"""Patterns of names, all at once: they fit what each of them would fit by itself."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.globs import LONGEST_NAME, MOST_KNOWN, Globs
from backchannel.delivery.traits import MOST_PATTERNS, Areas, Traits, require_few
from backchannel.errors import BadMessage

PATTERNS = st.lists(st.text("ab*?[]!-x\n", max_size=8), max_size=5)


@given(PATTERNS, st.text("abx]![-\n", max_size=8))
def test_a_name_fits_if_it_fits_any_of_them(patterns: list[str], name: str) -> None:
    assert Globs(patterns).fit(name) == any(fnmatchcase(name, pattern) for pattern in patterns)


def test_a_name_that_is_too_long_fits_no_pattern_and_itself() -> None:
    name = "a" * (LONGEST_NAME + 1)
    traits = Traits("memory_update", "ada", "memory", 3, "main", name)
    assert not Areas(["aa*"]).fits(traits)
    assert Areas([name]).fits(traits)


def test_what_is_remembered_of_characters_is_bounded() -> None:
    globs = Globs(["*[!a]*"])
    for start in range(0x100, 0x100 + 3 * MOST_KNOWN, 100):
        assert globs.fit("".join(map(chr, range(start, start + 100))))
    assert len(globs._known) <= MOST_KNOWN


def test_patterns_may_have_so_many_characters_together_and_plain_names_any_number() -> None:
    require_few(["a" * 4096] * 256, "focus")
    require_few(["*" + "a" * (MOST_PATTERNS - 1)], "focus")
    with pytest.raises(BadMessage) as refused:
        require_few(["*a"] * MOST_PATTERNS, "focus")
    assert refused.value.field == "focus"
