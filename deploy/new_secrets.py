"""Makes the secrets of a container deployment: one file each, never overwritten.

`python3 deploy/new_secrets.py [FOLDER]`; the folder is `secrets` beside this file unless given.
Needs nothing but Python, so it makes the public half of the one Ed25519 key by itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROLES = ("bridge", "handlers", "steward")


def password() -> str:
    """192 random bits. Starts with a letter: a password of digits alone would be a number to nats-server."""
    return "p" + secrets.token_urlsafe(24)


P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
BASE = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)


def added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """The sum of two points of the curve (RFC 8032, section 5.1.4, without projective coordinates)."""
    (x, y), (v, w) = one, other
    crossed = D * x * v * y * w % P
    return (
        (x * w + v * y) * pow(1 + crossed, P - 2, P) % P,
        (y * w + x * v) * pow(1 - crossed, P - 2, P) % P,
    )


def public_half(secret: bytes) -> bytes:
    """RFC 8032, section 5.1.5. Not in constant time: this runs once, where the secret is made."""
    digest = hashlib.sha512(secret).digest()
    factor = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    point, step = (0, 1), BASE
    while factor:
        if factor & 1:
            point = added(point, step)
        step, factor = added(step, step), factor >> 1
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def issuer(secret: bytes) -> str:
    """The public key of an account as NATS writes it: kind, key and checksum in base 32."""
    body = b"\0" + public_half(secret)
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")


def write_once(path: Path, text: str) -> None:
    """Readable by all, inside a folder only its owner may enter: containers run as another user."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    except FileExistsError:
        print(f"kept {path}")
        return
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)
    print(f"made {path}")


def require_own(folder: Path) -> None:
    """Whoever owns the folder, or a secret in it, knows what is in it; a link may lead to anything."""
    for path in (folder, *folder.iterdir()):
        if path.is_symlink() or path.lstat().st_uid != os.geteuid():
            sys.exit(f"{path} is a link or belongs to somebody else: remove it, or name another folder.")


def definitions(values: Mapping[str, str]) -> str:
    return "".join(f'{name}: "{value}"\n' for name, value in values.items())


def routes(route: str) -> dict[str, str]:
    """The password between the servers of deploy/docker-compose.cluster.yml, and their addresses with it."""
    peers = {f"ROUTE_{number}": f"nats-route://route:{route}@nats-{number}:6222" for number in (1, 2, 3)}
    return {"ROUTE_PASSWORD": route, **peers}


def key(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode() + "\n"


def kept_or_new(path: Path) -> bytes:
    """The key that answers NATS servers; its public half is in passwords.conf."""
    write_once(path, key(secrets.token_bytes(32)))
    return base64.urlsafe_b64decode(path.read_text("ascii"))


def make(folder: Path) -> None:
    """The key that signs tokens, the passwords as nats-server reads them, and that of each role alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_own(folder)
    folder.chmod(0o700)
    everyones, own = folder / "passwords.conf", {role: folder / f"{role}-password" for role in ROLES}
    together = [*own.values(), everyones]
    if len({path.exists() for path in together}) > 1:
        there = ", ".join(str(path) for path in together if path.exists())
        sys.exit(
            f"The passwords belong together and some are missing: remove {there}, and they are made anew."
        )
    callout = kept_or_new(folder / "callout.key")
    roles = {role: password() for role in ROLES}
    for role, path in own.items():
        write_once(path, roles[role] + "\n")
    logins = {
        **{f"{role.upper()}_PASSWORD": said for role, said in roles.items()},
        "OPERATOR_PASSWORD": password(),
        "SYSTEM_PASSWORD": password(),
        "CALLOUT_ISSUER": issuer(callout),
    }
    write_once(everyones, definitions(logins))
    write_once(folder / "route.conf", definitions(routes(password())))
    write_once(folder / "token.key", key(secrets.token_bytes(32)))


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "secrets")
