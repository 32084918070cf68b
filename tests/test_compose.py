"""The container files say what the code understands, and every shipped NATS configuration is valid."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from backchannel.jetstream.nkey import Nkey

ROOT = Path(__file__).resolve().parent.parent
FILES = (ROOT / "docker-compose.yml", ROOT / "deploy" / "docker-compose.cluster.yml")
TLS = ROOT / "deploy" / "docker-compose.tls.yml"
BIN = Path(sys.executable).parent

# The keys of the Compose specification that these files use; a key outside is a slip of the pen.
TOP = {"name", "services", "volumes", "secrets"}
SERVICE = {
    *("build", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "ports"),
    *(
        "read_only",
        "restart",
        "secrets",
        "security_opt",
        "stop_grace_period",
        "stop_signal",
        "tmpfs",
        "volumes",
    ),
}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}

both = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def compose(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def services(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose(path)["services"]
    return found


def together(path: Path, over: Path | None = None) -> dict[str, dict[str, Any]]:
    """The services of a file with what another one changes in them, as Compose merges the two."""
    found = services(path)
    for name, changes in (services(over) if over is not None else {}).items():
        service = found[name]
        environment = {**service.get("environment", {}), **changes.get("environment", {})}
        secrets = [*service.get("secrets", []), *changes.get("secrets", [])]
        found[name] = {**service, **changes, "environment": environment, "secrets": secrets}
    return found


def names_of_secrets(service: dict[str, Any]) -> set[str]:
    return {entry if isinstance(entry, str) else entry["source"] for entry in service.get("secrets", [])}


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (source, target) for source, target, *_ in (entry.split(":") for entry in service.get("volumes", []))
    ]


def ran(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, cwd=ROOT
    )


@both
def test_only_keys_of_the_specification_are_used(path: Path) -> None:
    document = compose(path)
    assert {key for key in document if not key.startswith("x-")} == TOP
    for name, service in services(path).items():
        assert set(service) <= SERVICE, name


@both
def test_what_a_service_waits_for_exists(path: Path) -> None:
    everything = services(path)
    for service in everything.values():
        for name, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] in CONDITIONS
            if wanted["condition"] == "service_healthy":
                assert "test" in everything[name]["healthcheck"]


@both
def test_volumes_and_secrets_are_declared_and_all_of_them_used(path: Path) -> None:
    document = compose(path)
    used = [mount for service in document["services"].values() for mount in mounts(service)]
    assert {source for source, _ in used if not source.startswith(".")} == set(document["volumes"])
    for source, _ in used:
        assert not source.startswith(".") or (path.parent / source).is_file(), source
    wanted = set().union(*(names_of_secrets(service) for service in document["services"].values()))
    assert wanted == set(document["secrets"])


@both
def test_secrets_are_files_that_the_script_makes(path: Path, tmp_path: Path) -> None:
    made = tmp_path / "secrets"
    assert ran(sys.executable, "deploy/new_secrets.py", str(made)).returncode == 0
    for secret in compose(path)["secrets"].values():
        assert (path.parent / secret["file"]).parent == ROOT / "deploy" / "secrets"
        assert (made / Path(secret["file"]).name).is_file()
    for service in services(path).values():
        spoken = [name for name in service.get("environment", {}) if "PASSWORD" in name or "KEY" in name]
        assert all(name.endswith("_FILE") for name in spoken)


def test_a_second_run_of_the_script_keeps_every_secret(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    ran(sys.executable, "deploy/new_secrets.py", str(folder))
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert ran(sys.executable, "deploy/new_secrets.py", str(folder)).returncode == 0
    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    assert folder.stat().st_mode & 0o077 == 0


@both
def test_environment_variables_are_ones_the_code_reads(path: Path) -> None:
    source = "".join(
        file.read_text() for name in ("backchannel", "cli") for file in (ROOT / name).rglob("*.py")
    )
    for service in services(path).values():
        for name in service.get("environment", {}):
            assert not name.startswith("BACKCHANNEL_") or f'"{name}"' in source, name


@both
def test_commands_are_ones_the_code_understands(path: Path) -> None:
    for name, service in services(path).items():
        match service["command"]:
            case ["python", "-m", module, *flags]:
                assert importlib.util.find_spec(f"{module}.__main__") is not None
                helped = ran(sys.executable, "-m", module, "--help")
            case ["backchannel", *words]:
                flags = [word for word in words if word.startswith("--")]
                bare = words[: words.index(flags[0])] if flags else words
                helped = ran(str(BIN / "backchannel"), *bare, "--help")
            case _:
                assert name.startswith("nats")
                continue
        assert helped.returncode == 0, helped.stderr
        assert all(flag in helped.stdout for flag in flags if flag.startswith("--"))


@both
def test_roles_run_without_rights_they_do_not_need(path: Path) -> None:
    for service in services(path).values():
        if service["image"] == "backchannel":
            assert service["read_only"] and service["cap_drop"] == ["ALL"]
            assert "no-new-privileges:true" in service["security_opt"]


@both
def test_no_port_is_open_to_the_network_by_default(path: Path) -> None:
    ports = [port for service in services(path).values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


@both
def test_each_role_has_a_login_of_its_own_and_no_secret_it_does_not_need(path: Path) -> None:
    roles = {name: services(path)[name] for name in ("topology", "bridge", "handlers")}
    users = {name: role["environment"]["BACKCHANNEL_NATS_USER"] for name, role in roles.items()}
    assert users == {"topology": "steward", "bridge": "bridge", "handlers": "handlers"}
    for name, role in roles.items():
        keys = {"token-key", "callout-key"} if name == "handlers" else {"token-key"}
        assert names_of_secrets(role) == keys | {f"{users[name]}-password"}
        named = {Path(value).name for key, value in role["environment"].items() if key.endswith("_FILE")}
        assert named == names_of_secrets(role)


def test_the_file_for_tls_changes_what_is_there_and_takes_its_pair_from_where_nothing_is_committed() -> None:
    changes, base = compose(TLS), services(FILES[0])
    assert {key for key in changes if not key.startswith("x-")} == {"services", "secrets"}
    assert set(changes["services"]) == set(base)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for secret in changes["secrets"].values():
        assert secret["file"].startswith("deploy/secrets/") and "deploy/secrets/" in ignored
    for service in changes["services"].values():
        assert set(service) <= {"command", "environment", "secrets"}
        assert names_of_secrets(service) <= set(changes["secrets"])
    for name, service in together(FILES[0], TLS).items():
        if name != "nats":
            assert service["environment"]["BACKCHANNEL_NATS_URL"].startswith("tls://")


def test_the_image_copies_only_what_exists_and_is_not_ignored() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in (source for sources in copied for source in sources):
        assert (ROOT / source).exists(), source
        assert source.partition("/")[0] in kept, source


def test_the_health_check_of_the_image_is_a_command_we_have() -> None:
    assert 'CMD ["backchannel", "healthcheck"]' in (ROOT / "deploy" / "Dockerfile").read_text()
    helped = ran(str(BIN / "backchannel"), "healthcheck", "--help")
    assert helped.returncode == 0, helped.stderr


CONFIGURATIONS = sorted((ROOT / "nats").rglob("*.conf"))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_every_shipped_nats_configuration_is_valid(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nats"
    shutil.copytree(ROOT / "nats", folder)
    assert ran(sys.executable, "deploy/new_secrets.py", str(folder)).returncode == 0
    # Every variable of the file has a value, of the kind that its name asks for.
    kinds = {
        "LISTEN": '"127.0.0.1:-1"',
        "SYNC": '"1s"',
        "FILE": f'"{tmp_path}/file"',
        "NAME": "nats-1",
        "ISSUER": Nkey(bytes(32)).public,
    }
    named = re.findall(r"\$([A-Z][A-Z_]*[A-Z])\b", re.sub(r'"[^"]*"', "", path.read_text()))
    values = {name: kinds.get(name.rpartition("_")[2], f'"{tmp_path}/{name}"') for name in named}
    checked = ran(str(BIN / "nats-server"), "-t", "-c", str(folder / path.name), **values)
    assert checked.returncode == 0, checked.stderr
