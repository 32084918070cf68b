"""Mutations: from something that is right to something that hardly is, the same for the same seed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

ODD_TEXTS = (
    "",
    " ",
    ".",
    "*",
    ">",
    "a.b",
    "main.>",
    "bc.main.evt.all.normal.broadcast",
    "$JS.API.STREAM.DELETE.BC_AUDIT",
    "backchannel",
    "OPERATOR",
    "\r\nNats-Rollup: all",
    "\x00",
    "\u202e",
    "\ud800",
    "é" * 65,
    "a" * 65,
    "a" * 5000,
    "2026-13-45T99:99:99Z",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff.9999999999999999999",
    "@bob `@eve` \n> @ada",
)
ODD_NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 1e308, -0.0, 0.1, 10**400)
ODD_VALUES: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": ""}, [None] * 300, {"type": "ack"})
DEEP = 3000


def mutated(seed: bytes, random: Random) -> bytes:
    """The seed with one to four faults: in its bytes, or in the JSON it is."""
    for _ in range(random.randint(1, 4)):
        seed = random.choice(_WAYS)(seed, random)
    return seed


def _in_json(change: Callable[[Any, Random], Any]) -> Callable[[bytes, Random], bytes]:
    def way(seed: bytes, random: Random) -> bytes:
        try:
            value = json.loads(seed)
        except (ValueError, RecursionError):
            return _flip(seed, random)
        return json.dumps(change(value, random), ensure_ascii=random.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )

    return way


def odd(random: Random) -> Any:
    """A value that nobody expects."""
    match random.randrange(4):
        case 0:
            return random.choice(ODD_TEXTS)
        case 1:
            return random.choice(ODD_NUMBERS)
        case 2:
            return copy.deepcopy(random.choice(ODD_VALUES))
    return "".join(chr(random.randrange(1, 0x2FF)) for _ in range(random.randrange(40)))


def _replace(value: Any, random: Random) -> Any:
    match value:
        case dict() if value and random.random() < 0.9:
            name = random.choice(list(value))
            return {**value, name: _replace(value[name], random)}
        case list() if value and random.random() < 0.9:
            place = random.randrange(len(value))
            return [*value[:place], _replace(value[place], random), *value[place + 1 :]]
    return odd(random)


def _leave_out(value: Any, random: Random) -> Any:
    if isinstance(value, dict) and value:
        gone = random.choice(list(value))
        return {name: kept for name, kept in value.items() if name != gone}
    return value


def _add(value: Any, random: Random) -> Any:
    names = ("cursor", "by", "members", "status", "sender_agent_id", "type", "traceparent", "trace_id", "x")
    return {**value, random.choice(names): odd(random)} if isinstance(value, dict) else [value, odd(random)]


def _nest(value: Any, random: Random) -> Any:
    depth = random.choice((2, 50))
    for _ in range(depth):
        value = [value] if random.random() < 0.5 else {"type": value}
    return value


def _flip(seed: bytes, random: Random) -> bytes:
    if not seed:
        return bytes([random.randrange(256)])
    place = random.randrange(len(seed))
    return seed[:place] + bytes([seed[place] ^ 1 << random.randrange(8)]) + seed[place + 1 :]


def _cut(seed: bytes, random: Random) -> bytes:
    return seed[: random.randrange(len(seed) + 1)]


def _double(seed: bytes, random: Random) -> bytes:
    start = random.randrange(len(seed) + 1)
    return seed[:start] + seed[start:] * random.randrange(1, 4)


def _insert(seed: bytes, random: Random) -> bytes:
    place = random.randrange(len(seed) + 1)
    return seed[:place] + random.randbytes(random.randrange(8)) + seed[place:]


def _too_deep(_: bytes, random: Random) -> bytes:
    return random.choice((b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP))


_WAYS = (
    *(_in_json(_replace),) * 6,
    *(_in_json(change) for change in (_leave_out, _add, _add, _nest)),
    *(_flip, _cut, _double, _insert, _too_deep),
)
