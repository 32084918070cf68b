"""JSON objects: how bytes become one."""

from __future__ import annotations

import gc
from typing import Any

import pydantic_core

from backchannel.errors import BadFrame

LARGE = 65_536


def read_object(raw: bytes | str) -> dict[str, Any]:
    """The JSON object in ``raw``.

    Raises:
        BadFrame: not UTF-8, not JSON (RFC 8259: no NaN), nested too deeply, or not an object.
    """
    try:
        value = _read(raw) if len(raw) < LARGE else _read_large(raw)
    except ValueError as error:
        raise BadFrame(f"The frame is not valid JSON: {error}.") from None
    if isinstance(value, dict):
        return value
    raise BadFrame("The frame must be one JSON object.")


def _read(raw: bytes | str) -> Any:
    return pydantic_core.from_json(raw, allow_inf_nan=False)


def _read_large(raw: bytes | str) -> Any:
    """The same without looking for garbage meanwhile: there are no circles in JSON, and to look through some
    hundred thousand new lists again and again takes three times as long as to read them."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return _read(raw)
    finally:
        if collects:
            gc.enable()
