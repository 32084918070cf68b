"""Trust: the keys by which a process believes tokens, and by which the NATS servers believe it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from backchannel.delivery.keys import Keys
from backchannel.home import Settings
from backchannel.home.variables import bearer_tokens


@dataclass(frozen=True, slots=True)
class Trust:
    """`tokens` says which keys of tokens count now; `callout` is the secret that answers NATS servers.

    With `nonce_needed` only tokens for one connection are believed, as at a bridge without bearer tokens.
    """

    tokens: Callable[[], Keys] = field(repr=False)
    callout: bytes = field(repr=False)
    nonce_needed: bool = False

    @classmethod
    def of(cls, settings: Settings, env: Mapping[str, str]) -> Trust | None:
        """None where nothing says how to answer NATS servers: then nobody comes in over NATS.

        Raises:
            BadMessage: a variable holds no such value; ``field`` names the variable.
        """
        nonce_needed = not bearer_tokens(env)
        callout = settings.callout_key()
        return None if callout is None else cls(settings.token_keys(), callout, nonce_needed)
