"""What a person asked `up` for, and what its children are told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cli.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Plan:
    """What the person asked `up` for."""

    host: str
    port: int
    nats_port: int
    nats: str | None
    groups: tuple[str, ...]
    bridges: int
    handlers: int
    durability: str
    certificate: Certificate | None = None

    def child_environment(
        self, env: Mapping[str, str], port: int, certificate: Certificate | None = None
    ) -> dict[str, str]:
        """Ours, without logins that are no child's business, and with the addresses that were found."""
        kept = {
            name: value
            for name, value in env.items()
            if not name.startswith(("BACKCHANNEL_NATS_", "BACKCHANNEL_TLS_"))
            and name not in ("BACKCHANNEL_DATA", "BACKCHANNEL_TOKEN")
        }
        groups = ",".join(self.groups)
        said = {"BACKCHANNEL_HOST": self.host, "BACKCHANNEL_PORT": str(port), "BACKCHANNEL_GROUPS": groups}
        if certificate is not None:
            said |= {
                "BACKCHANNEL_TLS_CERT": str(certificate.shown),
                "BACKCHANNEL_TLS_KEY": str(certificate.key),
            }
        return kept | said | {"PYTHONUNBUFFERED": "1"}
