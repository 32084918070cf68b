"""The data folder of a platform: its secrets, its lock, where it listens, who is known."""

from __future__ import annotations

from backchannel.home.files import FolderError, FolderInUse, NotRunning, UnknownOrigin
from backchannel.home.folder import DEFAULT_FOLDER, Home
from backchannel.home.lock import Lock
from backchannel.home.settings import Environment, Platform, Role, Runtime, Settings

__all__ = [
    "DEFAULT_FOLDER",
    "Environment",
    "FolderError",
    "FolderInUse",
    "Home",
    "Lock",
    "NotRunning",
    "Platform",
    "Role",
    "Runtime",
    "Settings",
    "UnknownOrigin",
]
