"""Variables of the environment that more than one process of a platform reads, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping

from backchannel.errors import BadMessage

BEARER_TOKENS = "BACKCHANNEL_BEARER_TOKENS"
_SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def bearer_tokens(env: Mapping[str, str]) -> bool:
    """Whether tokens without a nonce are believed, at either door. Raises BadMessage."""
    text = env.get(BEARER_TOKENS)
    return switch(BEARER_TOKENS, text) if text else True


def switch(name: str, text: str) -> bool:
    """What the text of a variable says, with yes or no. Raises BadMessage; ``field`` names the variable."""
    if text.lower() not in _SWITCH:
        raise BadMessage(f"{name} must be true or false, and is {text!r}.", field=name)
    return _SWITCH[text.lower()]
