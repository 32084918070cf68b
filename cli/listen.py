"""The listening socket: opened by `up` and handed to every bridge, so that a restart refuses nobody."""

from __future__ import annotations

import errno
import ipaddress
import socket

from cli.failure import Failure

BACKLOG = 4096


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes any free one. Failure says what to do when it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except socket.gaierror as problem:
        raise Failure(f"There is no address {host!r} to listen on ({problem.strerror}).") from problem
    except OSError as problem:
        raise _explained(problem, host, port) from problem


def _explained(problem: OSError, host: str, port: int) -> Failure:
    match problem.errno:
        case errno.EADDRINUSE:
            return Failure(
                f"Port {port} on {host} is taken by another program.",
                hint="choose another with --port, or 0 for any free one",
            )
        case errno.EACCES | errno.EPERM:
            return Failure(f"Port {port} may not be opened by this user.", hint="choose one above 1023")
        case errno.EADDRNOTAVAIL:
            return Failure(
                f"{host} is not an address of this machine.", hint="--host 0.0.0.0 means all of them"
            )
    return Failure(f"{host} port {port} cannot be listened on: {problem.strerror}.")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable(host: str) -> str:
    """The host as a client on this machine may write it into a URL."""
    match host:
        case "" | "0.0.0.0":
            return "127.0.0.1"
        case "::":
            return "[::1]"
    return f"[{host}]" if ":" in host else host
