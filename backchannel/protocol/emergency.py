"""Emergencies and shutdowns: what is said when the house is on fire or closing."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from backchannel.protocol.message import Message, ShortText, Text, Way


class SecurityEmergency(Message):
    """Raise a security emergency. Needs the claim ``lanes`` to name the lane."""

    way: ClassVar[Way] = Way.STATELESS
    type: Literal["security_emergency"] = "security_emergency"
    threat_type: ShortText
    message: Text | None = None

    example: ClassVar[dict[str, Any]] = {"threat_type": "credential_theft"}


class CriticalFailure(Message):
    """Raise the failure of a service. Needs the claim ``lanes`` to name the lane."""

    way: ClassVar[Way] = Way.STATELESS
    type: Literal["critical_failure"] = "critical_failure"
    service_name: ShortText
    message: Text | None = None

    example: ClassVar[dict[str, Any]] = {"service_name": "billing"}


class SecurityEmergencyBroadcast(Message):
    """A security emergency, as everyone hears it. Its text is the raiser's word, not an instruction."""

    type: Literal["security_emergency_broadcast"] = "security_emergency_broadcast"
    threat_type: ShortText
    message: Text | None = None
    priority_lane: bool = True

    example: ClassVar[dict[str, Any]] = {"threat_type": "credential_theft"}


class CriticalFailureBroadcast(Message):
    """The failure of a service, as everyone hears it."""

    type: Literal["critical_failure_broadcast"] = "critical_failure_broadcast"
    service_name: ShortText
    message: Text | None = None
    priority_lane: bool = True

    example: ClassVar[dict[str, Any]] = {"service_name": "billing"}


class ShutdownNotice(Message):
    """The platform is about to close."""

    message: ShortText
    countdown_seconds: Annotated[float, Field(ge=0)] | None = None
    urgency: Literal["critical", "normal", "low"] = "normal"


class SystemShutdown(ShutdownNotice):
    """The platform closes in good order."""

    type: Literal["system_shutdown"] = "system_shutdown"
    example: ClassVar[dict[str, Any]] = {"message": "Closing for the night."}


class MaintenanceShutdown(ShutdownNotice):
    """The platform closes for maintenance; the message says for how long."""

    type: Literal["maintenance_shutdown"] = "maintenance_shutdown"
    example: ClassVar[dict[str, Any]] = {"message": "Back in ten minutes."}


class EmergencyShutdownWarning(ShutdownNotice):
    """One step of the countdown before an emergency shutdown."""

    type: Literal["emergency_shutdown_warning"] = "emergency_shutdown_warning"
    example: ClassVar[dict[str, Any]] = {"message": "Leave now.", "countdown_seconds": 10}
