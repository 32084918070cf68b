"""Being brought into sidebars unasked: by whom an agent lets that be done, and how often one agent may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from backchannel.errors import BackchannelError, Forbidden, RateLimited

Invitations = Literal["anyone", "known", "nobody"]
LET: frozenset[str] = frozenset(get_args(Invitations))
MOST_DEPARTURES = 3
"""Who has left a sidebar so often is brought in by nobody any more; it may join by itself."""
AGAIN = 60.0
"""Seconds after which it may be worth asking again."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """How somebody takes it to be brought into a sidebar by the sender of a command.

    ``invitations`` is its own word. ``known`` says whether the sender is in an open sidebar with it, or is
    its human; ``put_in`` in how many open sidebars it is by the sender's doing alone.
    """

    invitations: str = "anyone"
    known: bool = False
    put_in: int = 0

    def why_not(self, agent: str, sender: str, most: int, field: str) -> BackchannelError | None:
        """The refusal; None if the sender may bring the agent in."""
        if self.invitations == "nobody" or (self.invitations == "known" and not self.known):
            whom = "nobody" if self.invitations == "nobody" else "only those it works with already"
            return Forbidden(
                f"{agent} lets {whom} bring it into sidebars; mention it and ask it to join.", field=field
            )
        if self.put_in >= most:
            return RateLimited(
                f"{sender} has brought {agent} into {self.put_in} open sidebars that it did not ask for;"
                " end some of them first.",
                field=field,
                retry_after=AGAIN,
            )
        return None


def wanted_by(entry: Mapping[str, Any]) -> str:
    """What an entry of the directory says of invitations; what says nothing lets anyone."""
    said = entry.get("invitations")
    return said if isinstance(said, str) and said in LET else "anyone"
