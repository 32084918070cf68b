"""Trust: the keys by which a process believes tokens, and by which the NATS servers believe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from backchannel.delivery.keys import Keys
from backchannel.home import Settings


@dataclass(frozen=True, slots=True)
class Trust:
    """`tokens` says which keys of tokens count now; `callout` is the secret that answers NATS servers."""

    tokens: Callable[[], Keys] = field(repr=False)
    callout: bytes = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Trust | None:
        """None where nothing says how to answer NATS servers: then nobody comes in over NATS."""
        callout = settings.callout_key()
        return None if callout is None else cls(settings.token_keys(), callout)
