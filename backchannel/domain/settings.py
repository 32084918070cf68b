"""The settings that change while the platform runs: names, units, defaults, ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backchannel.domain.supervision.rules import USUAL as USUAL_RULES
from backchannel.domain.supervision.rules import RiskRules
from backchannel.errors import NotFound
from backchannel.protocol.catalog import bad_message
from backchannel.protocol.claims import SupervisionLevel

YEAR = 31_536_000.0
Waits = Annotated[float, Field(ge=1, le=YEAR)]


class Section(BaseModel):
    """Settings that belong together. Each says in one sentence what it is for."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)


class Cleanup(Section):
    """What becomes of sidebars in which nothing happens any more. Durations in seconds."""

    enabled: bool = Field(default=True, description="Whether idle sidebars are cleaned up at all.")
    warn_after: Waits = Field(
        default=86_400.0, description="Silence after which the participants are warned."
    )
    pause_after: Waits = Field(
        default=3_600.0, description="Time between the warning and the pause of a sidebar that stays silent."
    )
    archive_after: Waits = Field(default=604_800.0, description="Time between that pause and the archive.")


class Inheritance(Section):
    """How much of its ancestors' context a new sidebar sees."""

    inheritance_depth: int = Field(
        default=3, ge=0, le=64, description="Contexts a new sidebar inherits unless its spawn says otherwise."
    )
    inheritance_budget: int = Field(
        default=65_536,
        ge=0,
        le=1_000_000,
        description="Bytes of inherited exchanges that the answer to a spawn carries at most.",
    )


class Size(Section):
    """How large a sidebar may become."""

    max_participants: int = Field(
        default=256, ge=1, le=4096, description="Agents that may be in one sidebar at a time."
    )
    max_put_in: int = Field(
        default=200,
        ge=1,
        le=100_000,
        description="Open sidebars into which one agent may bring another that does nothing in them.",
    )


class Coalesce(Section):
    """How rapid updates to one topic are joined into one."""

    window: float = Field(
        default=0.5,
        ge=0,
        le=10,
        description="Seconds for which an update waits for others of its sender to its topic; 0: not at all.",
    )


StageSeconds = Annotated[float, Field(ge=0, le=3_600)]


class Warmup(Section):
    """How an agent that has never been connected is spared at first."""

    stages: Annotated[list[StageSeconds], Field(max_length=3)] = Field(
        default=[],
        description="Seconds of each stage for all newcomers, as [10, 20, 30]; empty: for those who ask.",
    )


class Trail(Section):
    """How often the audit trail is sealed by a signed checkpoint, when there is something new in it."""

    checkpoint_seconds: float = Field(
        default=60.0, ge=1, le=3_600, description="Seconds after which new records are sealed."
    )
    checkpoint_records: int = Field(
        default=1_000, ge=1, le=100_000, description="Records after which they are sealed without waiting."
    )


class Curation(Section):
    """What becomes of critical updates that an agent does not acknowledge."""

    ack_timeout: float = Field(
        default=30.0,
        ge=1,
        le=86_400,
        description="Seconds for which the curator waits for an acknowledgement, and again for an answer.",
    )


class Presence(Section):
    """When an agent that has no connection any more counts as gone."""

    offline_grace: Annotated[float, Field(ge=0.5, le=3_600)] = Field(
        default=10.0,
        description="Seconds an agent may be without a connection before its collaborators are told.",
    )


class Approvals(Section):
    """How approvals of tools go on when nobody answers, and what counts as a risk."""

    timeout: Waits = Field(
        default=300.0,
        description="Time a human has to answer before the next one is asked, or it is denied.",
    )
    grant_seconds: Waits = Field(default=300.0, description="Time within which a grant must be used.")
    most_pending: int = Field(
        default=50, ge=1, le=1000, description="Requests of one agent that may wait for an answer."
    )
    fallback: list[str] = Field(
        default=[], description="Humans who are asked when an agent's own are silent."
    )
    together: Waits = Field(
        default=120.0, description="Time within which requests of one kind may be answered together."
    )
    callbacks: dict[str, str] = Field(
        default={}, description="Where requests are posted for which human: names to http(s) addresses."
    )
    public_url: str = Field(
        default="http://127.0.0.1:8002", description="The address of a bridge, as callbacks are told it."
    )
    rules: RiskRules = Field(default=USUAL_RULES, description="What makes a call of a tool risky.")


class Checking(Section):
    """How often every connection is looked after."""

    check_interval: float = Field(
        default=30.0,
        ge=10,
        le=300,
        description="Seconds between two pings of a connection; after three silences it is given up.",
    )


class Breaker(Section):
    """When an agent whose connections keep failing is kept out for a while."""

    failures: int = Field(
        default=3, ge=1, le=1000, description="Connections in a row that fail until the breaker opens."
    )
    retry_after: Waits = Field(
        default=60.0, description="Seconds until one connection is let in to try again."
    )


class Trusting(Section):
    """How agents earn freedom with tools, and from where on."""

    begins_at: SupervisionLevel = Field(
        default="autonomous",
        description="The most freedom an agent has with a class of tools before a human settles its level.",
    )
    recent: Waits = Field(default=7_776_000.0, description="Age up to which the outcome of a call counts.")


class Looping(Section):
    """When agents that answer each other without end are stopped."""

    max_hops: int = Field(
        default=16, ge=1, le=1_000, description="Messages that one message may lead to, one after the other."
    )
    pair_budget: int = Field(
        default=2_000, ge=1, le=1_000_000, description="Messages two agents may exchange within the window."
    )
    window: float = Field(default=600.0, ge=1, le=86_400, description="Seconds over which that is counted.")


class Limiting(Section):
    """How much may be sent. What is over it is refused with `rate_limited` and a time to wait."""

    messages_per_second: int = Field(
        default=200, ge=1, le=1_000_000, description="Messages that one connection may send a second."
    )
    agent_messages_per_second: int = Field(
        default=300,
        ge=1,
        le=1_000_000,
        description="Messages that one agent may send a second over all its connections to a bridge.",
    )
    agent_bytes_per_second: int = Field(
        default=2_097_152,
        ge=65_536,
        le=1_073_741_824,
        description="Bytes that one agent may have stored a second, its copies in inboxes included, over all"
        " its connections.",
    )


class Settings(Section):
    """Every setting, by section: ``cleanup.warn_after`` is ``settings.cleanup.warn_after``."""

    cleanup: Cleanup = Cleanup()
    context: Inheritance = Inheritance()
    sidebar: Size = Size()
    curator: Curation = Curation()
    presence: Presence = Presence()
    approvals: Approvals = Approvals()
    health: Checking = Checking()
    breaker: Breaker = Breaker()
    loops: Looping = Looping()
    audit: Trail = Trail()
    coalesce: Coalesce = Coalesce()
    warmup: Warmup = Warmup()
    trust: Trusting = Trusting()
    limits: Limiting = Limiting()

    def changed(self, name: str, value: Any) -> Settings:
        """With one setting at another value; None puts its default back.

        Raises:
            NotFound: there is no such setting.
            BadMessage: the value is of the wrong kind or out of range; ``field`` is the setting's name.
        """
        section, _, field = name.partition(".")
        if name not in DEFAULTS:
            raise NotFound(
                f"There is no setting {name[:80]!r}; there are {', '.join(DEFAULTS)}.", field="name"
            )
        plain = self.model_dump()
        plain[section][field] = DEFAULTS[name] if value is None else value
        try:
            return Settings.model_validate(plain)
        except ValidationError as error:
            raise bad_message(error) from None

    def flat(self) -> dict[str, Any]:
        """Each setting's dotted name and value."""
        return dict(_flat(self.model_dump()))


def _flat(sections: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for section, fields in sections.items():
        for field, value in fields.items():
            yield f"{section}.{field}", value


USUAL = Settings()
"""Where nothing is set."""
DEFAULTS: Mapping[str, Any] = USUAL.flat()
"""Every setting there is, by its dotted name."""
