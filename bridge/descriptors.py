"""How many files and sockets this process may have open."""

from __future__ import annotations

RESERVED = 128
"""Descriptors for everything but the sockets of clients: logs, NATS, what libraries open."""


def sockets_for(wanted: int) -> int:
    """Have the system allow so many sockets of clients, or as many as it will; how many that are.

    The usual allowance (1024, 256 on a Mac) is less than the port's own limits: whoever opens that many
    sockets would keep everybody else out, since none can be accepted any more.
    """
    try:
        import resource
    except ImportError:  # there is none for Windows, and no such allowance
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, raised), hard))
        except (ValueError, OSError):
            raised = soft
        soft = max(soft, raised)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(1, soft - RESERVED))
