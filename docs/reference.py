"""Writes the reference pages that are made from the code: ``python docs/reference.py [--check]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from backchannel.domain.rights import RIGHTS, Action, Role
from backchannel.domain.sidebar.moves import MOVES
from backchannel.errors import BY_CODE
from backchannel.protocol.catalog import KINDS, schema
from backchannel.protocol.message import Message, Way
from backchannel.protocol.sidebar_status import SidebarStatus

FOLDER = Path(__file__).parent / "reference"
MADE = "<!-- Made by `make reference` from the code; do not edit. -->\n\n"
BASE = set(Message.model_fields)


def messages() -> str:
    lines = [MADE + "# Messages\n\n"]
    for way in Way:
        kinds = {name: kind for name, kind in sorted(KINDS.items()) if kind.way is way}
        if kinds:
            lines.append(f"## {way.name.capitalize()}: {way.value}\n\n")
            lines += [_message(name, kind) for name, kind in kinds.items()]
    return "".join(lines)


def _message(name: str, kind: type[Message]) -> str:
    required = [
        field for field, told in kind.model_fields.items() if told.is_required() and field not in BASE
    ]
    rest = [field for field in kind.model_fields if field not in BASE and field not in required]
    about = " ".join((kind.__doc__ or "").split())
    fields = ", ".join(f"`{field}`" for field in required) or "none"
    optional = ", ".join(f"`{field}`" for field in rest) or "none"
    example = json.dumps({"type": name, **kind.example}, ensure_ascii=False)
    return (
        f"### `{name}`\n\n{about}\n\nRequired: {fields}. Optional or filled by the platform: {optional}.\n\n"
        f"```json\n{example}\n```\n\n"
    )


def statuses() -> str:
    """The table of moves, and the same as a diagram."""
    moves = {old: [new.value for new in SidebarStatus if new in MOVES[old]] for old in SidebarStatus}
    rows = "".join(f"| {old.value} | {', '.join(new) or 'only a fork'} |\n" for old, new in moves.items())
    arrows = "".join(f"    {old.value} --> {end}\n" for old, new in moves.items() for end in new)
    return (
        MADE
        + "# The statuses of a sidebar\n\n| from | to |\n|---|---|\n"
        + rows
        + "\n```mermaid\nstateDiagram-v2\n    [*] --> active\n"
        + arrows
        + "```\n"
    )


RIGHTS_INTRODUCTION = """# Rights in sidebars

Whoever stands to a sidebar in several ways may do what any of them allows, and whoever stands to it in none
may do nothing. `main` is no sidebar: everyone in the group is there, and nobody becomes a *parent* or an
*heir* by that. Opening a sidebar under `main` takes the claim `can_spawn_sidebars` and nothing else.

To *look* is to learn that a sidebar is there, where it stands, what it is for and who is in it. What was
said and found takes the right to *read*. Who may not look is answered as if there were none.

What touches two sidebars takes a right on both: whoever has its own wait for another one needs *await* there.
A fork by somebody who may not read the original has what was said there while that one was in it.

What happens is sent to participants and to those whose token names the sidebar; others who may read ask.

"""


def rights() -> str:
    """Who may do what with a sidebar: a row for each action, a column for each role."""
    names = " | ".join(role.name.lower() for role in Role)
    who = "".join(f"| {role.name.lower()} | {role.value} |\n" for role in Role)
    rows = "".join(
        f"| {action.name.lower()}: {action.value} it | "
        + " | ".join("yes" if action in RIGHTS[role] else "" for role in Role)
        + " |\n"
        for action in Action
    )
    roles = f"| role | who that is |\n|---|---|\n{who}\n"
    return f"{MADE}{RIGHTS_INTRODUCTION}{roles}| | {names} |\n|---|{'---|' * len(Role)}\n{rows}"


def errors() -> str:
    rows = "".join(
        f"| `{code}` | {'yes' if kind.retryable else 'no'} | {_first_sentence(kind.__doc__)} |\n"
        for code, kind in sorted(BY_CODE.items())
    )
    return MADE + "# Error codes\n\n| code | worth repeating unchanged | meaning |\n|---|---|---|\n" + rows


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def pages() -> dict[str, str]:
    return {
        "messages.md": messages(),
        "sidebar-statuses.md": statuses(),
        "rights.md": rights(),
        "error-codes.md": errors(),
        "protocol.schema.json": json.dumps(schema(), indent=1, sort_keys=True) + "\n",
    }


def stale() -> list[str]:
    """The names of pages that are not what the code says."""
    return [
        name
        for name, text in pages().items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text(encoding="utf-8") != text
    ]


def main() -> int:
    if "--check" in sys.argv:
        if found := stale():
            print(f"Stale: {', '.join(found)}. Run `make reference`.", file=sys.stderr)
        return 1 if found else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
