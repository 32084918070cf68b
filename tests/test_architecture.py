"""The house rules that a machine can check, read from the syntax trees alone."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("backchannel", "bridge", "handlers", "gateways", "cli")
PURE = ("backchannel/protocol", "backchannel/domain", "backchannel/delivery")

# What a rule may not know: waiting, chance, the clock, the machine, and whoever is outside.
MACHINE = frozenset({"asyncio", "logging", "os", "random", "socket", "subprocess", "threading", "time"})
OUTSIDE = frozenset({"click", "nats", "starlette", "structlog", "uvicorn", "uvloop", "websockets"})
# Where each outside library may appear; `__main__` stands for the modules that start a program.
HOMES = {
    "nats": ("backchannel/jetstream/",),
    "websockets": ("bridge/", "backchannel/client/"),
    "click": ("cli/",),
    "uvloop": ("cli/", "__main__"),
    "starlette": ("bridge/",),
    "uvicorn": ("bridge/",),
}
# Words that say nothing about the thing they name.
EMPTY_WORDS = frozenset(
    {"manager", "helper", "helpers", "util", "utils", "common", "base", "misc", "data", "info", "process"}
)
LONGEST_MODULE = 400
LONGEST_CAPTION = 104
NATS_MODULES = frozenset({"aio", "js", "micro", "protocol", "client", "jetstream", "server", "key_value"})


class Module(NamedTuple):
    """One Python file: its path from the root, with slashes, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return parsed(self)


@functools.cache
def parsed(module: Module) -> ast.Module:
    """Its syntax tree: most rules look at all modules, and none changes one."""
    return ast.parse(module.text, module.path)


def modules(*folders: str) -> list[Module]:
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in found]


MODULES = modules(*PACKAGES)


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, also those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=str(name), level=0, names=names):
                yield from ((node.lineno, f"{name}.{alias.name}") for alias in names)
            case ast.ImportFrom():
                yield node.lineno, "."


def offences(folders: tuple[str, ...], forbidden: frozenset[str]) -> list[str]:
    return [
        f"{module.path}:{line} imports {name}"
        for module in modules(*folders)
        for line, name in imports(module)
        if name.partition(".")[0] in forbidden
    ]


def test_rules_are_pure() -> None:
    assert offences(PURE, MACHINE | OUTSIDE) == []


def test_rules_are_given_the_time_and_never_ask_for_it() -> None:
    clocks = {"now", "utcnow", "today"}
    asked = [
        f"{module.path}:{node.lineno} asks for .{node.func.attr}()"
        for module in modules("backchannel/domain", "backchannel/delivery")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
    ]
    assert asked == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_stays_in_its_room(library: str) -> None:
    strays = [
        f"{module.path}:{line}"
        for module in MODULES
        for line, name in imports(module)
        if name.partition(".")[0] == library
        and not any(module.path.startswith(home) or f"/{home}" in module.path for home in HOMES[library])
    ]
    assert strays == [], f"{library} belongs in {' and '.join(HOMES[library])}"


def test_edges_do_not_know_each_other() -> None:
    edges = ("bridge", "handlers", "gateways", "cli")
    crossings = [
        problem for edge in edges for problem in offences((edge,), frozenset(edges) - frozenset([edge]))
    ]
    assert crossings == []


def test_the_core_does_not_know_the_edges() -> None:
    assert offences(("backchannel",), frozenset({"bridge", "handlers", "gateways", "cli"})) == []


def test_a_handler_never_imports_another() -> None:
    neighbours = [
        f"{module.path}:{line} imports {name}"
        for module in modules("handlers")
        if not module.path.endswith("__main__.py")
        for line, name in imports(module)
        if name.startswith("handlers.") and name.split(".")[1] not in Path(module.path).parts
    ]
    assert neighbours == []


def is_captioned(module: Module) -> bool:
    """A docstring whose first line is a sentence of its own, followed by nothing or a blank line."""
    first, _, rest = (ast.get_docstring(module.tree) or "").partition("\n")
    return first.endswith(".") and len(first) <= LONGEST_CAPTION and (not rest or rest.startswith("\n"))


def test_every_module_opens_with_one_line_that_says_what_it_is_for() -> None:
    assert [module.path for module in MODULES if not is_captioned(module)] == []


def test_every_module_can_be_read_in_one_go() -> None:
    lengths = {module.path: module.text.count("\n") for module in MODULES}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_imports_are_absolute() -> None:
    assert [
        f"{module.path}:{line}" for module in MODULES for line, name in imports(module) if name == "."
    ] == []


def test_names_say_something() -> None:
    folders = (ROOT / name for name in (*PACKAGES, "tests", "bench", "examples", "docs"))
    files = [path for folder in folders for path in folder.rglob("*.py")]
    empty = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if EMPTY_WORDS & set(re.split(r"[_/.-]", path.relative_to(ROOT).as_posix().lower()))
    ]
    assert empty == []


# Names that a library calls, overridden here.
GIVEN = frozenset({"handle_websocket_upgrade"})


def test_classes_and_functions_are_named_after_what_they_do() -> None:
    named = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    vague = re.compile(r"^_?(handle|do)_|(Manager|Helper|Util|Utils|Common|Misc|Impl)$|^Abstract")
    found = [
        f"{module.path}:{node.lineno} {node.name}"
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, named) and vague.search(node.name) and node.name not in GIVEN
    ]
    assert found == []


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts}
    assert [folder.name for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_configuration_never_shadows_the_nats_package() -> None:
    folder = ROOT / "nats"
    assert folder.is_dir()
    assert list(folder.rglob("*.py")) == []
    assert [path.name for path in folder.rglob("*") if path.is_dir() and path.name in NATS_MODULES] == []
    assert not (ROOT / "tests" / "nats").exists()


def test_import_nats_finds_the_library_and_nothing_pulls_in_aiohttp() -> None:
    # In a process of its own, started in the root, where a stray folder would do its harm.
    script = "import sys, nats, backchannel.jetstream; print(nats.__file__); print('aiohttp' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    place, aiohttp = answer.stdout.split()
    assert "site-packages" in place
    assert aiohttp == "False"


def test_the_tree_in_architecture_is_the_tree_of_the_code() -> None:
    answer = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "tree.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
