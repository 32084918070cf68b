"""Writes the tree in ARCHITECTURE.md from the captions of packages and modules."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("backchannel", "bridge", "handlers", "gateways", "cli")
BEGIN, END = "<!-- tree: made by `make tree` -->\n", "<!-- end of tree -->"
CAPTION_COLUMN = 27


def caption(module: Path) -> str:
    """The first line of a module's docstring, without its full stop; empty if it has none."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].rstrip(".")


def row(depth: int, name: str, about: str) -> str:
    """One line of the tree, its caption in the same column at every depth."""
    return f"{'  ' * depth + name:<{CAPTION_COLUMN}}{about}".rstrip()


def rows(package: Path, depth: int = 0) -> Iterator[str]:
    """A package, its modules, then the packages inside it, each in alphabetical order."""
    yield row(depth, f"{package.name}/", caption(package / "__init__.py"))
    for module in sorted(package.glob("*.py")):
        if module.name != "__init__.py":
            yield row(depth + 1, module.name, caption(module))
    for inner in sorted(package.iterdir()):
        if (inner / "__init__.py").is_file():
            yield from rows(inner, depth + 1)


def tree(root: Path = ROOT) -> str:
    """The whole listing as a Markdown code block."""
    blocks = ["\n".join(rows(root / name)) for name in PACKAGES if (root / name / "__init__.py").is_file()]
    return "```\n" + "\n\n".join(blocks) + "\n```\n"


def renewed(text: str, listing: str) -> str:
    """ARCHITECTURE.md with its listing replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + listing + END + after


def main() -> int:
    """Write the listing; with --check, only say whether it is current (exit code 1 if it is not)."""
    page = ROOT / "ARCHITECTURE.md"
    text = page.read_text(encoding="utf-8")
    wanted = renewed(text, tree())
    if wanted == text:
        return 0
    if "--check" in sys.argv[1:]:
        print("the tree in ARCHITECTURE.md is stale: run `make tree` and commit the result", file=sys.stderr)
        return 1
    page.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
