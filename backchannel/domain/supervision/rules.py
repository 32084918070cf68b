"""The rules by which risk is judged: configurable, and known by the digest of what they say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from backchannel.domain.canonical import digest

Level = Literal["low", "medium", "high", "critical"]
LEVELS: tuple[Level, ...] = ("low", "medium", "high", "critical")
Pattern = Annotated[str, Field(min_length=1, max_length=256)]


class _Rule(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)


class ToolRule(_Rule):
    """Tools whose name matches a shell pattern belong to a class, with this risk to begin with."""

    pattern: Pattern
    tool_class: str
    level: Level


class PathRule(_Rule):
    """A path in the parameters that matches raises the risk to `level`."""

    pattern: Pattern
    level: Level
    why: str


class WordRule(_Rule):
    """A word in any text of the parameters raises the risk to `level`; letters of either case."""

    word: Pattern
    level: Level
    why: str


class RiskRules(_Rule):
    """Which tools are what, and what makes a call of them risky. The first tool rule that matches counts."""

    tools: list[ToolRule]
    paths: list[PathRule]
    words: list[WordRule]
    otherwise: Level = "medium"

    @property
    def version(self) -> str:
        """What the rules say, as twelve digits."""
        return digest(self.model_dump())[:12]


def _tools(level: Level, tool_class: str, *patterns: str) -> list[ToolRule]:
    return [ToolRule(pattern=one, tool_class=tool_class, level=level) for one in patterns]


USUAL = RiskRules(
    tools=[
        *_tools("high", "execute", "code_execution", "shell*", "exec*", "run_*", "*_exec", "*_execute"),
        *_tools("high", "delete", "*delete*", "*remove*", "drop_*", "purge_*", "rm"),
        *_tools("high", "money", "pay*", "*payment*", "*transfer*", "purchase*"),
        *_tools("medium", "write", "*write*", "*modify*", "*update*", "*create*", "*send*", "*deploy*"),
        *_tools("low", "read", "*read*", "*list*", "*search*", "*get*", "*query*", "*view*"),
        *_tools("low", "fetch", "web_*", "http_*", "*fetch*"),
    ],
    paths=[
        PathRule(pattern=pattern, level=level, why=why)
        for pattern, level, why in (
            ("../*", "critical", "it climbs out of its folder"),
            ("/etc/*", "critical", "it is configuration of the system"),
            ("/root/*", "critical", "it belongs to the superuser"),
            ("/boot/*", "critical", "it is needed to start the machine"),
            ("/proc/*", "critical", "it is the kernel's"),
            ("/sys/*", "critical", "it is the kernel's"),
            ("/dev/*", "critical", "it is a device"),
            ("*/.ssh/*", "critical", "keys lie there"),
            ("*/.gnupg/*", "critical", "keys lie there"),
            ("*/.aws/*", "critical", "credentials lie there"),
            ("*/.kube/*", "critical", "credentials lie there"),
            ("*/.docker/config.json", "critical", "credentials lie there"),
            ("*/.git-credentials", "critical", "credentials lie there"),
            ("*/.netrc", "critical", "credentials lie there"),
            ("*/.pgpass", "critical", "credentials lie there"),
            ("*/run/secrets/*", "critical", "secrets of a container lie there"),
            ("*/windows/system32/*", "critical", "it is configuration of the system"),
            ("*id_rsa*", "high", "it may be a key"),
            ("*id_ed25519*", "high", "it may be a key"),
            ("*.p12", "high", "it may be a key"),
            ("*.pfx", "high", "it may be a key"),
            ("*.kdbx", "high", "passwords lie there"),
            ("*.pem", "high", "it may be a key"),
            ("*.key", "high", "it may be a key"),
            ("*.env", "high", "secrets often lie in such a file"),
            ("*/.env.*", "high", "secrets often lie in such a file"),
            ("*/.npmrc", "high", "tokens often lie in such a file"),
            ("*/.pypirc", "high", "tokens often lie in such a file"),
            ("/usr/*", "high", "it belongs to installed software"),
            ("/var/*", "high", "it belongs to running services"),
            ("/home/*", "medium", "it is somebody's own folder"),
        )
    ],
    words=[
        WordRule(word=word, level=level, why=why)
        for word, level, why in (
            ("drop table", "critical", "it destroys a table"),
            ("truncate table", "critical", "it empties a table"),
            ("delete from", "high", "it deletes rows"),
            ("drop database", "critical", "it destroys a database"),
            ("drop schema", "critical", "it destroys a schema"),
            ("rm -rf", "critical", "it deletes whole folders"),
            ("rmtree", "critical", "it deletes whole folders"),
            ("mkfs", "critical", "it makes a disk empty"),
            (":(){", "critical", "it makes processes without end"),
            ("169.254.169.254", "critical", "it is where clouds keep credentials"),
            ("localhost", "high", "it reaches services of this machine"),
            ("127.0.0.1", "high", "it reaches services of this machine"),
            ("sudo ", "high", "it acts as the superuser"),
            ("doas ", "high", "it acts as the superuser"),
        )
    ],
)
"""Where nothing else is set."""
