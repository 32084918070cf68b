from __future__ import annotations

import pytest

from backchannel.client.closing import Again, Closed, Stop, after
from backchannel.errors import BackchannelError, Expired, Forbidden, RateLimited, TooLarge, Unavailable
from backchannel.protocol.frame import RECONNECT, ErrorFrame, Goodbye


@pytest.mark.parametrize("code", sorted(RECONNECT))
def test_after_a_passing_trouble_the_client_comes_back(code: int) -> None:
    assert isinstance(after(Closed(code), refreshable=True), Again)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1000, Unavailable), (1009, TooLarge), (4403, Forbidden), (4409, Forbidden), (4400, BackchannelError)],
)
def test_what_would_happen_again_stops_the_client(code: int, kind: type[BackchannelError]) -> None:
    decision = after(Closed(code, "so"), refreshable=True)
    assert isinstance(decision, Stop)
    assert isinstance(decision.error, kind)


def test_an_expired_token_is_exchanged_where_one_can_be_had() -> None:
    assert after(Closed(4401), refreshable=True) == Again(fresh_token=True)


def test_an_expired_fixed_token_stops_the_client() -> None:
    decision = after(Closed(4401), refreshable=False)
    assert isinstance(decision, Stop)
    assert isinstance(decision.error, Expired)


def test_a_spent_session_is_not_shown_again() -> None:
    assert after(Closed(4410), refreshable=True) == Again(without_session=True)


def test_the_goodbye_says_when_to_come_back() -> None:
    goodbye = Goodbye(code=1012, reason="restart", retry_after=7.0)
    assert after(Closed(1012, goodbye=goodbye), refreshable=True) == Again(7.0)


def test_the_error_before_the_close_is_what_the_user_reads() -> None:
    error = ErrorFrame(code="rate_limited", message="Far too fast.")
    decision = after(Closed(4400, error=error), refreshable=True)
    assert isinstance(decision, Stop)
    assert isinstance(decision.error, RateLimited)
    assert "Far too fast" in decision.error.message
