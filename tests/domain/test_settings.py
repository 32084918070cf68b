"""Settings: what may be set, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.settings import DEFAULTS, Settings
from backchannel.errors import BadMessage, NotFound

ANYTHING = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=True), st.text(max_size=5), st.lists(st.integers())
)


def test_every_setting_has_a_default_that_it_accepts() -> None:
    for name, value in DEFAULTS.items():
        assert Settings().changed(name, value) == Settings()


def test_a_change_touches_one_setting_and_none_puts_the_default_back() -> None:
    changed = Settings().changed("cleanup.warn_after", 60)
    assert changed.cleanup.warn_after == 60.0
    assert {name for name, value in changed.flat().items() if value != DEFAULTS[name]} == {
        "cleanup.warn_after"
    }
    assert changed.changed("cleanup.warn_after", None) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cleanup.warn_after", 0),
        ("cleanup.warn_after", "60"),
        ("cleanup.enabled", 1),
        ("context.inheritance_depth", 65),
        ("context.inheritance_depth", 1.5),
        ("sidebar.max_participants", 0),
        ("health.check_interval", 9.9),
        ("health.check_interval", 301),
        ("cleanup.pause_after", float("nan")),
    ],
)
def test_a_value_of_the_wrong_kind_or_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(BadMessage) as refused:
        Settings().changed(name, value)
    assert refused.value.field == name


def test_an_unknown_setting_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(NotFound, match=r"cleanup\.warn_after"):
        Settings().changed("cleanup.warn", 60)


@given(st.sampled_from(sorted(DEFAULTS)), ANYTHING)
def test_whatever_is_written_the_settings_in_force_are_valid(name: str, value: Any) -> None:
    try:
        changed = Settings().changed(name, value)
    except BadMessage:
        return
    assert Settings.model_validate(changed.model_dump()) == changed
