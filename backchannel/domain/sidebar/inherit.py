"""What a new sidebar sees of the contexts it comes from: by reference, never by copy."""

from __future__ import annotations

from collections.abc import Sequence

from backchannel.domain.sidebar.state import Sidebar
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.sidebar import ContextRange


def inherited_by_child(parent: Sidebar | None, *, start: str, head: str, depth: int) -> list[ContextRange]:
    """The stretches a child sees: its parent up to ``head``, then what that saw; ``depth`` contexts in all.

    ``parent`` None means ``main``. ``start`` and ``head`` are cursors: the beginning of the log, and the
    moment of the spawn, so that what is written in the parent later is not silently in the child.
    """
    nearest = ContextRange(context_id=parent.sidebar_id if parent else MAIN, start=start, to=head)
    return [nearest, *(parent.inherited if parent else ())][:depth]


def inherited_by_fork(
    original: Sidebar, *, start: str, head: str, stays: Sequence[ContextRange] | None = None
) -> list[ContextRange]:
    """A fork sees of the original what its forker could read there, and all that the original saw.

    Args:
        stays: where the forker was in it; None for one who may read the whole.
    """
    if stays is None:
        stays = (ContextRange(context_id=original.sidebar_id, start=start, to=head),)
    return [*stays, *original.inherited] if stays else []
