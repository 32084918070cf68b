"""The life of a sidebar: its statuses, who is in it, what it inherits, how it ends."""

from __future__ import annotations

from backchannel.domain.sidebar.ask import Ask, Brought
from backchannel.domain.sidebar.decide import decide
from backchannel.domain.sidebar.ending import brings
from backchannel.domain.sidebar.fold import evolve, fold
from backchannel.domain.sidebar.moves import MOVES, TERMINAL
from backchannel.domain.sidebar.state import Sidebar

__all__ = ["MOVES", "TERMINAL", "Ask", "Brought", "Sidebar", "brings", "decide", "evolve", "fold"]
