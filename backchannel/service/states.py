"""States: what an agent says of itself, as it is compared to find out whether it is news."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backchannel.domain.canonical import digest

NO_STATE = frozenset(
    {
        *("message_id", "timestamp", "sender_agent_id", "agent_id", "active_sidebars", "cursor"),
        *("trace_id", "traceparent", "causation_id", "reply_to"),
    }
)
"""Fields that differ although the state is the same."""


def digest_of(content: Mapping[str, Any]) -> str | None:
    """What is compared; None for what has no canonical form."""
    try:
        return digest({name: value for name, value in content.items() if name not in NO_STATE})
    except ValueError:
        return None
