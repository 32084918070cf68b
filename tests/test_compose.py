"""The container files say what the code understands, and every shipped NATS configuration is valid."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
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
    *(
        "build",
        "cap_drop",
        "command",
        "depends_on",
        "deploy",
        "environment",
        "healthcheck",
        "image",
        "logging",
    ),
    *("mem_limit", "pids_limit", "ports", "ulimits", "user"),
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


CLOSED: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing in it can be changed": lambda service: service["read_only"] is True,
    "it is nobody who can do anything": lambda service: int(service["user"].partition(":")[0]) >= 10_000,
    "it has no capability": lambda service: service["cap_drop"] == ["ALL"] and "cap_add" not in service,
    "it gains none": lambda service: "no-new-privileges:true" in service["security_opt"],
    "it is not the host": lambda service: {"privileged", "network_mode", "pid", "ipc", "devices"}.isdisjoint(
        service
    ),
    "its processes are counted": lambda service: 0 < service["pids_limit"] <= 512,
    "its memory is counted": lambda service: re.fullmatch(r"[1-9]\d*[gm]", service["mem_limit"]),
    "its temporary files are counted": lambda service: all("size=" in place for place in service["tmpfs"]),
    "it leaves no memory behind": lambda service: service["ulimits"]["core"] == 0,
    "its log is bounded": lambda service: {"max-size", "max-file"} <= set(service["logging"]["options"]),
    "it starts again": lambda service: service["restart"] in ("unless-stopped", "on-failure"),
    "what it mounts of ours is read only": lambda service: all(
        mount.endswith(":ro") for mount in service.get("volumes", []) if mount.startswith(".")
    ),
}
ALL_SERVICES = [
    pytest.param(service, id=f"{path.stem}{'+tls' * (over is not None)}-{name}")
    for path, over in ((FILES[0], None), (FILES[1], None), (FILES[0], TLS))
    for name, service in together(path, over).items()
]


@pytest.mark.parametrize("promise", CLOSED)
@pytest.mark.parametrize("service", ALL_SERVICES)
def test_every_service_of_every_file_is_closed_in(service: dict[str, Any], promise: str) -> None:
    assert CLOSED[promise](service)


DOCKERFILES = sorted((ROOT / "deploy").glob("*Dockerfile"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_image_is_built_on_one_that_is_named_by_its_digest_and_runs_as_nobody(path: Path) -> None:
    lines = path.read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert bases and all(re.fullmatch(r"[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}", base) for base in bases)
    assert [line for line in lines if line.startswith("USER 1000")], "it would run as root"


@both
def test_every_image_is_built_here_or_named_by_its_digest(path: Path) -> None:
    for name, service in services(path).items():
        if "build" in service:
            built = path.parent / service["build"]["context"] / service["build"]["dockerfile"]
            assert built.resolve() in DOCKERFILES, name
        else:
            assert "@sha256:" in service["image"], name


def test_what_is_installed_into_the_image_is_named_by_its_digest() -> None:
    installs = [
        line for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines() if "pip install" in line
    ]
    assert installs and all("--require-hashes" in line or "--no-deps" in line for line in installs)


@pytest.mark.parametrize("name", ["server.conf", "cluster.conf"])
def test_the_monitoring_of_a_nats_server_is_for_its_own_container(name: str) -> None:
    text = (ROOT / "nats" / name).read_text()
    assert re.findall(r"^(?:http|https|monitor_port|http_port|https_port)\b.*", text, re.M) == [
        'http: "127.0.0.1:8222"'
    ]


def test_a_store_belongs_to_the_user_of_its_server() -> None:
    user = services(FILES[0])["nats"]["user"]
    made = (ROOT / "deploy" / "nats.Dockerfile").read_text()
    assert f"chown {user} /store" in made and f"USER {user}" in made


@pytest.mark.parametrize("planted", ["secrets", "secrets/token.key", "secrets/callout.key"])
def test_no_secret_is_made_or_kept_through_a_link(planted: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "secrets").mkdir() if "/" in planted else None
    (tmp_path / planted).symlink_to(tmp_path / "elsewhere")
    done = ran(sys.executable, "deploy/new_secrets.py", str(tmp_path / "secrets"))
    assert done.returncode == 1 and f"{planted} is a link" in done.stderr
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755 and not any(
        (tmp_path / "elsewhere").iterdir()
    )


def test_secrets_are_closed_by_their_folder_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert ran(sys.executable, "deploy/new_secrets.py", str(tmp_path / "secrets")).returncode == 0
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert modes and set(modes.values()) == {0o444}


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
