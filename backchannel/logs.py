"""How processes log: one JSON object per line on stderr, and no secret in any of them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from structlog.types import Processor

REDACTED = "[redacted]"
SECRET_NAMES = re.compile(
    r"token|authorization|memory.auth|password|secret|session|cookie|nonce", re.IGNORECASE
)
JWT = re.compile(r"e[yw][A-Za-z0-9_-]{6,1000}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
"""Base64url of a JSON object, twice, and a signature."""

IN_URL = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
"""User and password in an address."""

LONGEST = 8192
LOOKED_AT = 8 * LONGEST


def redact(logger: Any, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the last one before the entry is written."""
    return {str(name): _clean(str(name), value, 0) for name, value in entry.items()}


def configure(level: str = "INFO") -> None:
    """Write what structlog and the standard library log in the same way."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=True,
    )
    writer = logging.StreamHandler(sys.stderr)
    writer.setFormatter(_formatter(shared))
    root = logging.getLogger()
    root.handlers[:] = [writer]
    root.setLevel(level)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of every bad request


def _formatter(shared: list[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(),
        ],
    )


def _clean(name: str, value: Any, depth: int) -> Any:
    if SECRET_NAMES.search(name):
        return REDACTED
    match value:
        case bool() | int() | float() | None:
            return value
        case Mapping() if depth < 5:
            return {str(key): _clean(str(key), one, depth + 1) for key, one in value.items()}
        case list() | tuple() | set() | frozenset() if depth < 5:
            return [_clean("", one, depth + 1) for one in value]
    return _hide(str(value))


def _hide(text: str) -> str:
    cleaned = IN_URL.sub(REDACTED, JWT.sub(REDACTED, text[:LOOKED_AT]))
    if len(cleaned) <= LONGEST:
        return cleaned
    half = LONGEST // 2  # of a traceback, both ends say most
    return f"{cleaned[:half]} … {cleaned[-half:]}"
