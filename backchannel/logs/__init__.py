"""How processes log: one JSON object per line on stderr, no secret in any of them, and no flood of them."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.types import Processor

from backchannel.logs.hiding import LONGEST, hide, redact
from backchannel.logs.writer import Writer

__all__ = ["LONGEST", "configure", "hide", "redact"]


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
    writer = Writer(sys.stderr)
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
