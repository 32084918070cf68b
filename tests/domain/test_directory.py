from __future__ import annotations

import json

from backchannel.delivery.token import draft
from backchannel.domain.directory import bounded, entry_after_arrival
from backchannel.protocol.frame import Intake, Quality

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
    assert "noted_at" not in entry and "x" not in entry


def test_of_a_long_introduction_only_what_is_known_is_kept_and_of_that_a_bounded_part() -> None:
    claims = draft("mal", now=0, lifetime=60, jti="1")
    names = [f"{'s' * 58}-{number:03}" for number in range(256)]
    intake = Intake.model_validate(
        {"specialties": names, "preferred_collaborators": names, "noise": "x" * 1_000_000, "sealing_key": "k"}
    )
    texts = ["t" * 4_096] * 256
    quality = Quality.model_validate(
        {"required_data": texts, "batchable_data": ["few", *texts[1:]], "noise": ["x"] * 9}
    )
    entry = entry_after_arrival({}, claims, intake, NOW, quality)
    assert len(json.dumps(entry)) <= 8_192
    assert entry["specialties"] == names[: len(entry["specialties"])] and len(entry["specialties"]) > 50
    assert entry["quality"]["batchable_data"] == ["few"] and entry["sealing_key"] == "k"
    assert "noise" not in entry and "noise" not in entry["quality"]
    assert entry_after_arrival(entry, claims, intake, NOW, quality) == entry, "the same again is no news"


def test_what_was_kept_before_there_was_a_bound_is_shown_shortened() -> None:
    former = {"agent_id": "mal", "entity_type": "agent", "status": "idle", "noise": "x" * 1_000_000}
    assert bounded({**former, "specialties": ["ok", 7], "quality": "x" * 999_999}) == {
        **{"agent_id": "mal", "entity_type": "agent", "status": "idle"},
        **{"specialties": ["ok"], "quality": None},
    }


def test_what_an_honest_agent_says_is_kept_whole() -> None:
    claims = draft("ada", now=0, lifetime=60, jti="1")
    said = {"specialties": ["tls", "sql"], "availability": "busy", "preferred_collaborators": ["bob"]}
    entry = entry_after_arrival({}, claims, Intake.model_validate(said), NOW)
    assert {name: entry[name] for name in said} == said
