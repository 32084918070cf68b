"""Canonical JSON: the one way to write a value, so that it can be hashed and signed.

Keys sorted by code point, no spaces, UTF-8, nothing escaped that need not be; as RFC 8785 for what the
platform writes (keys within the Basic Multilingual Plane, whole numbers up to 2^53, ordinary fractions).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

_written = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode


def canonical(value: Any) -> bytes:
    """
    Raises:
        ValueError: the value is not JSON: not a number, half a character, a circle.
        TypeError: it holds something that is neither text, number, list nor mapping.
    """
    return _written(value).encode("utf-8")


def digest(value: Any) -> str:
    """SHA-256 over the canonical form, in hexadecimal. Raises as `canonical`."""
    return hashlib.sha256(canonical(value)).hexdigest()
