"""What gets installed, and that nothing in it depends on where it was made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ("runtime.txt", "dev.txt")
PINNED = re.compile(r"^([a-z0-9-]+)==([^\s;]+)", re.MULTILINE)


def project() -> dict[str, Any]:
    document: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return document


def pins(name: str) -> dict[str, str]:
    return dict(PINNED.findall((ROOT / "requirements" / name).read_text()))


def canonical(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_packages_and_the_nats_configuration_and_nothing_else(
    wheel: zipfile.ZipFile,
) -> None:
    names = wheel.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} <= {
        *("backchannel", "bridge", "handlers", "gateways", "cli")
    }
    shipped = {path.relative_to(ROOT / "nats").as_posix() for path in (ROOT / "nats").rglob("*.*")}
    assert {f"backchannel/_nats/{name}" for name in shipped} <= set(names)
    assert "backchannel/py.typed" in names


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    (scripts,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "backchannel = cli.main:main" in wheel.read(scripts).decode()


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_pinned_and_hashed(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"\n(?=[a-z])", text.strip())
    assert all(PINNED.match(entry) and "--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_name_no_place(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert re.search(r"://|^#|^-|file:", text, re.MULTILINE) is None


def test_requirements_cover_what_the_project_asks_for() -> None:
    asked = {canonical(entry) for entry in project()["project"]["dependencies"]}
    build = {canonical(entry) for entry in project()["build-system"]["requires"]}
    assert asked | build <= set(pins("runtime.txt"))
    extra = {canonical(entry) for entry in project()["project"]["optional-dependencies"]["dev"]}
    assert extra <= set(pins("dev.txt"))


def test_development_and_runtime_pin_the_same_versions() -> None:
    runtime = pins("runtime.txt")
    assert {name: version for name, version in pins("dev.txt").items() if name in runtime} == runtime


def test_aiohttp_stays_out() -> None:
    assert "aiohttp" not in pins("dev.txt")


def test_the_node_lock_names_no_place_and_pins_by_content() -> None:
    text = (ROOT / "tests" / "interop" / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    assert "://" not in text and '"resolved"' not in text
    assert all("integrity" in package for name, package in packages.items() if name)
    wanted = json.loads((ROOT / "tests" / "interop" / "package.json").read_text())["dependencies"]
    assert packages[""]["dependencies"] == wanted
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
