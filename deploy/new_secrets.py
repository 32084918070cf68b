"""Makes the secrets of a container deployment: one file each, never overwritten.

`python3 deploy/new_secrets.py [FOLDER]`; the folder is `secrets` beside this file unless given.
Needs nothing but Python.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent


def password() -> str:
    """192 random bits. Starts with a letter: a password of digits alone would be a number to nats-server."""
    return "p" + secrets.token_urlsafe(24)


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


def definitions(values: Mapping[str, str]) -> str:
    return "".join(f'{name}: "{value}"\n' for name, value in values.items())


def routes(route: str) -> dict[str, str]:
    """The password between the servers of deploy/docker-compose.cluster.yml, and their addresses with it."""
    peers = {f"ROUTE_{number}": f"nats-route://route:{route}@nats-{number}:6222" for number in (1, 2, 3)}
    return {"ROUTE_PASSWORD": route, **peers}


def make(folder: Path) -> None:
    """The key that signs tokens, the passwords as nats-server reads them, and the platform's own alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    own, all_of_them = folder / "platform-password", folder / "passwords.conf"
    if own.exists() != all_of_them.exists():
        sys.exit(f"{own} and {all_of_them} belong together and one is missing: remove the other.")
    platform = password()
    logins = {"PLATFORM_PASSWORD": platform, "OPERATOR_PASSWORD": password(), "SYSTEM_PASSWORD": password()}
    write_once(own, platform + "\n")
    write_once(all_of_them, definitions(logins))
    write_once(folder / "route.conf", definitions(routes(password())))
    write_once(folder / "token.key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "secrets")
