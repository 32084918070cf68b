"""Every message there is: the union, how bytes become one of them, and the JSON Schema."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from backchannel.errors import BadMessage, UnknownType
from backchannel.protocol import attention, emergency, memory, mention, presence, result, sidebar, supervision
from backchannel.protocol.frame import ClientFrame, DuplicateAck, ServerFrame
from backchannel.protocol.message import Message, Way

Model = TypeVar("Model", bound=BaseModel)

AnyMessage = (
    sidebar.SidebarCommand
    | sidebar.SidebarNotice
    | memory.MemoryUpdate
    | memory.ReviewRequested
    | mention.MentionRoute
    | mention.Undeliverable
    | mention.MessageQuarantined
    | presence.AgentPresence
    | presence.AgentOffline
    | presence.CuratorCheckin
    | emergency.SecurityEmergency
    | emergency.CriticalFailure
    | emergency.SecurityEmergencyBroadcast
    | emergency.CriticalFailureBroadcast
    | emergency.SystemShutdown
    | emergency.MaintenanceShutdown
    | emergency.EmergencyShutdownWarning
    | supervision.ToolRequest
    | supervision.ToolResult
    | supervision.ApprovalResponse
    | supervision.ToolDecision
    | supervision.ApprovalRequest
    | supervision.AllowanceRevoke
    | supervision.TrustUpdate
    | supervision.TrustNotice
    | attention.Handled
    | attention.SubscriptionUpdate
    | attention.Infodump
    | attention.QualityUpdate
    | attention.Query
    | attention.Renew
    | result.Result
)

KINDS: dict[str, type[Message]] = {kind.model_fields["type"].default: kind for kind in get_args(AnyMessage)}
"""Each message type and its class."""

MOST_FAULTS = 5_000
"""Beyond so many none of them is named: that would take longer than to read the message."""

FROM_CLIENTS: frozenset[str] = frozenset(name for name, kind in KINDS.items() if kind.way is not Way.PLATFORM)


def read_message(content: dict[str, Any]) -> AnyMessage:
    """The message in a JSON object.

    Raises:
        UnknownType: no message has this type.
        BadMessage: a field is missing or wrong; ``field`` names the first one.
    """
    kind = content.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UnknownType(f"There is no message type {str(kind)[:64]!r}.", field="type")
    return read(KINDS[kind], content)  # type: ignore[return-value]


def read(model: type[Model], content: dict[str, Any]) -> Model:
    """What the object says. A null where a field may be left out says the same as leaving it out; it is taken
    out of ``content``, which is what is stored.

    Raises:
        BadMessage: a field is missing or wrong; ``field`` names the first one.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        if error.error_count() > MOST_FAULTS:
            raise bad_message(error) from None
        nulls = [found["loc"] for found in error.errors(include_url=False) if found["input"] is None]
        if not nulls:
            raise bad_message(error) from None
    for null in nulls:
        _leave_out(content, null)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise bad_message(error) from None


def _leave_out(content: dict[str, Any], way: tuple[int | str, ...]) -> None:
    """Take a field out, unless it lies in a list."""
    place: Any = content
    for step in way[:-1]:
        place = place.get(step) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place.pop(way[-1], None)


def bad_message(error: ValidationError) -> BadMessage:
    """The first fault of a validation, as the sender is told it. Never repeats the value itself."""
    if error.error_count() > MOST_FAULTS:
        return BadMessage(f"The message has {error.error_count()} faults; send one that has fewer.")
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # Beside names and places, pydantic puts there which form of several was tried, as `constrained-str`.
    named = [str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier()]
    field = ".".join(named) or None
    return BadMessage(f"The field {field or 'of the message'!r} is not right: {first['msg']}.", field=field)


def write(message: Message) -> bytes:
    """The message as it is stored: compact JSON of what was said, without what was left out."""
    return message.model_dump_json(exclude_unset=True, by_alias=True).encode()


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of everything that may pass over a connection."""
    wire: TypeAdapter[Any] = TypeAdapter(AnyMessage | ClientFrame | ServerFrame | DuplicateAck)
    found = wire.json_schema(by_alias=True, ref_template="#/$defs/{model}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Backchannel wire protocol, version 1",
        **found,
    }
