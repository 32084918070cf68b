from __future__ import annotations

from backchannel.delivery.token import draft
from backchannel.domain.directory import entry_after_arrival
from backchannel.protocol.frame import Intake

NOW = "2026-01-01T00:00:00.000Z"


def test_an_agent_cannot_say_of_itself_what_the_platform_says_of_it() -> None:
    claims = draft("ada", now=0, lifetime=60, jti="1")
    lie = Intake.model_validate(
        {
            "entity_type": "human",
            "human_supervisor": "eve",
            "human_partner": "eve",
            "noted_at": 10**18,
            "first_seen": "1970",
            "x": 1,
        }
    )
    entry = entry_after_arrival({}, claims, lie, NOW)
    assert entry["human_partner"] is None
    assert (entry["entity_type"], entry["human_supervisor"], entry["first_seen"]) == ("agent", None, NOW)
    assert "noted_at" not in entry and entry["x"] == 1
