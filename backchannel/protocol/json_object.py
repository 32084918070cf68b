"""JSON objects: how bytes become one."""

from __future__ import annotations

from typing import Any

import pydantic_core

from backchannel.errors import BadFrame


def read_object(raw: bytes | str) -> dict[str, Any]:
    """The JSON object in ``raw``.

    Raises:
        BadFrame: not UTF-8, not JSON (RFC 8259: no NaN), nested too deeply, or not an object.
    """
    try:
        value = pydantic_core.from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise BadFrame(f"The frame is not valid JSON: {error}.") from None
    if isinstance(value, dict):
        return value
    raise BadFrame("The frame must be one JSON object.")
