"""What an event says, in one line for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SAYING = (
    "content",
    "message",
    "task_description",
    "sub_task_description",
    "consolidated_findings",
    "findings",
    "test_description",
    "fork_reason",
    "archive_reason",
    "description",
    "reason",
    "detail",
)
"""Fields that hold what was said, the most telling first."""


def gist(event: Mapping[str, Any]) -> str:
    """The words of an event; empty when it has none."""
    exchange = event.get("exchange")
    fields = exchange if isinstance(exchange, dict) else event
    words = next((fields[name] for name in SAYING if fields.get(name) not in (None, "", [], {})), "")
    said = words if isinstance(words, str) else json.dumps(words, ensure_ascii=False)
    return f"{_about(event)}{said}"


def _about(event: Mapping[str, Any]) -> str:
    """Who or what it is for, where the words alone do not say it."""
    match event.get("type"):
        case "mention_route":
            return "".join(f"@{target} " for target in event.get("target_agents") or ())
        case "sidebar_status_update":
            return f"→ {event.get('new_status')} "
        case "sidebar_test_result":
            return f"{event.get('result')}: "
        case "sidebar_invite":
            return f"+ {', '.join(map(str, event.get('agents') or ()))} "
        case "agent_presence":
            return f"{event.get('status')} "
    return ""
