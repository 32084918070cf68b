"""A deed: who did what, as it is handed to the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Category = Literal["security", "connection", "sidebar", "config", "approval", "tool", "identity", "platform"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
Phase = Literal["fact", "intent", "result"]
"""What has happened; what is about to be done; how that went."""

Seal = Callable[[int, str], Mapping[str, Any]]
"""More facts, from the position of the record before this one, and its hash."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing to be kept in the trail.

    Args:
        entity: whom or what it is about; the last token of the subject. What is no identifier is kept as
            ``unknown``, with what was said in the facts.
        action: what was done, in the past or as a verb: ``connected``, ``token_revoked``, ``execute``.
        facts: anything JSON can say. Secrets become digests and long values become digests and sizes
            before it is written anywhere.
        phase: an ``intent`` and its ``result`` bear the same `of`.
        of: the id of what this belongs to, a request for instance.
        id: under which it is written once, however often it is handed in within five minutes; a random
            one if it is left empty.
        seal: facts that depend on the place in the chain.
    """

    group: str
    category: Category
    entity: str
    action: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    phase: Phase = "fact"
    of: str | None = None
    id: str | None = None
    seal: Seal | None = None

    @classmethod
    def intent(
        cls, group: str, category: Category, entity: str, action: str, facts: Mapping[str, Any], of: str
    ) -> Deed:
        """What is about to be done. It must not be done if this cannot be written."""
        return cls(group, category, entity, action, facts, "intent", of)

    @classmethod
    def result(
        cls, group: str, category: Category, entity: str, action: str, facts: Mapping[str, Any], of: str
    ) -> Deed:
        """How that which was announced under the same `of` went."""
        return cls(group, category, entity, action, facts, "result", of)
