"""A secret never reaches the trail, wherever it stands; what is none can still be read."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.audit.redaction import Policy

POLICY = Policy(b"pepper")
Place = Callable[[str], Any]

ANY_SECRET: dict[str, Place] = {
    "password": lambda s: {"password": s},
    "password1": lambda s: {"password1": s},
    "dbPassword": lambda s: {"dbPassword": s},
    "PGPASSWORD": lambda s: {"PGPASSWORD": s},
    "api-key": lambda s: {"x-api-key": s},
    "authtoken": lambda s: {"authtoken": s},
    "accesstoken": lambda s: {"config": [{"accesstoken": s}]},
    "list of secrets": lambda s: {"passwords": [s, s]},
    "a pair": lambda s: {"name": "DB_PASSWORD", "value": s},
    "a pair of another name": lambda s: {"key": "api_token", "val": s},
    "a header pair": lambda s: {"header": "Authorization", "content": s},
    "env of a container": lambda s: {
        "env": [{"name": "A", "value": "b"}, {"name": "SECRET_KEY", "value": s}]
    },
    "a list of two": lambda s: [["user", "ada"], ["password", s]],
    "arguments": lambda s: ["mysql", "--password", s, "--host", "db"],
    "arguments with equals": lambda s: ["tool", f"--password={s}"],
    "arguments -p": lambda s: ["mysql", "-p", s],
    "arguments -u": lambda s: {"cmd": f"curl -u ada:{s} https://example.com"},
    "arguments kebab": lambda s: ["tool", "--client-secret", s],
    "arguments of a header": lambda s: ["curl", "-H", f"X-Api-Key: {s}"],
    "a command line": lambda s: f"tool --token {s} --verbose",
    "a command line with equals": lambda s: f"tool --api-key={s} run",
    "a command line -p": lambda s: f"sshpass -p {s} ssh host",
    "mysql -p": lambda s: f"mysql -u root -p{s} db",
    "quoted option": lambda s: f"tool --password '{s}' --x",
    "a command in a list in a text": lambda s: f'["tool", "--password", "{s}"]',
    "a command in a python list": lambda s: f"run(['tool', '--password', '{s}'])",
    "export": lambda s: f"export TOKEN={s}",
    "env": lambda s: f"A=b\nDB_PASSWORD={s}\nC=d",
    "env before a command": lambda s: f"DB_PASSWORD={s} ./run",
    "docker -e": lambda s: f"docker run -e DB_PASSWORD={s} image",
    "set": lambda s: f"set API_KEY={s}",
    "yaml": lambda s: f"db:\n  user: ada\n  password: {s}\n  port: 1",
    "yaml list": lambda s: f"- token: {s}",
    "yaml quoted": lambda s: f"password: '{s}'",
    "ini": lambda s: f"[db]\nuser = ada\npassword = {s}\n",
    "toml": lambda s: f'secret_key = "{s}"',
    "properties": lambda s: f"spring.datasource.password={s}",
    "json": lambda s: json.dumps({"a": 1, "password": s}),
    "json deep": lambda s: json.dumps({"a": [{"b": {"clientSecret": s}}]}),
    "json pretty": lambda s: json.dumps({"a": {"api_key": s}}, indent=2),
    "json list": lambda s: json.dumps({"secrets": [s, s]}),
    "json pair": lambda s: json.dumps([{"name": "DB_PASSWORD", "value": s}]),
    "json in json": lambda s: json.dumps({"body": json.dumps({"password": s})}),
    "json in json in json": lambda s: json.dumps({"x": json.dumps({"body": json.dumps({"token": s})})}),
    "json in a sentence": lambda s: f'I sent {{"password": "{s}", "b": 1}} to it.',
    "escaped json in a sentence": lambda s: f'it said "{{\\"password\\": \\"{s}\\"}}" then',
    "pair in a sentence": lambda s: f'it has {{"name": "DB_PASSWORD", "value": "{s}"}} there',
    "yaml pair": lambda s: f'env:\n  - name: "DB_PASSWORD"\n    value: "{s}"\n',
    "python": lambda s: f"client = Client(api_key='{s}')",
    "python dict": lambda s: f"{{'password': '{s}'}}",
    "environ": lambda s: f"os.environ['DB_PASSWORD'] = '{s}'",
    "ruby": lambda s: f":password => '{s}'",
    "go": lambda s: f'password := "{s}"',
    "xml": lambda s: f"<config><password>{s}</password></config>",
    "url": lambda s: f"postgres://ada:{s}@db:5432/x",
    "url without user": lambda s: f"redis://:{s}@cache/0",
    "url in a sentence": lambda s: f"see https://ada:{s}@example.com/a?b=c for more",
    "query": lambda s: f"https://example.com/?a=b&api_key={s}&c=d",
    "query token": lambda s: f"https://example.com/x?token={s}",
    "query signature": lambda s: f"https://example.com/x?x-amz-signature={s}#a",
    "fragment": lambda s: f"https://example.com/#access_token={s}&x=1",
    "header": lambda s: f"GET / HTTP/1.1\r\nAuthorization: Bearer {s}\r\nHost: x\r\n",
    "header basic": lambda s: f"Authorization: Basic {base64.b64encode(s.encode()).decode()}",
    "cookie": lambda s: f"Cookie: a=b; sid={s}; c=d",
    "set-cookie": lambda s: f"Set-Cookie: sid={s}; HttpOnly",
    "curl header": lambda s: f"curl -H 'X-Auth-Token: {s}' https://example.com",
    "curl bearer": lambda s: f'curl -H "Authorization: Bearer {s}" https://example.com',
    "form": lambda s: f"user=ada&password={s}&go=1",
    "a sentence": lambda s: f"the password is {s} as you know",
    "a sentence with a colon": lambda s: f"use the password: {s}",
    "sql": lambda s: f"ALTER USER ada PASSWORD '{s}'",
    "sql identified": lambda s: f"create user ada identified by '{s}'",
    "connection string": lambda s: f"Server=db;User Id=ada;Password={s};",
    "jdbc": lambda s: f"jdbc:mysql://db/x?user=ada&password={s}",
    "netrc like": lambda s: f"machine x login ada password '{s}'",
    "in a key": lambda s: {f"token={s}": 1},
    "bytes of a number": lambda s: {"pin": s},
    "in an error": lambda s: {"error": f"login failed: password={s} was refused"},
    "yaml block": lambda s: f"password: |\n  {s}\nport: 1",
    "arguments -pX": lambda s: ["mysql", "-u", "root", f"-p{s}"],
    "arguments -u user:x": lambda s: ["curl", "-u", f"ada:{s}", "https://example.com"],
    "a call": lambda s: f'os.putenv("DB_PASSWORD", "{s}")',
    "a tuple": lambda s: f"headers.append(('Authorization', '{s}'))",
    "dockerfile": lambda s: f"FROM x\nENV DB_PASSWORD {s}\n",
    "netrc": lambda s: f"machine example.com login ada password {s}\n",
    "a query in a query": lambda s: f"https://x.example/?next=%2Fa%3Ftoken%3D{s}",
    "sas": lambda s: f"https://x.example/a?sv=1&sig={s}&se=2",
    "azure": lambda s: f"AccountName=x;AccountKey={s};EndpointSuffix=y",
    "html": lambda s: f'<input name="password" value="{s}">',
    "xml attribute": lambda s: f'<add key="DbPassword" value="{s}"/>',
    "arrow": lambda s: f"password -> {s}",
    "discord": lambda s: f"https://discord.com/api/webhooks/123456789/{'A' * 20}{s}",
    "an option on its own line": lambda s: f"tool\n--password\n{s}\n--verbose",
    "a database url with a slash": lambda s: f"postgres://ada:x/{s}/y@db/orders",
    "a database url with an at": lambda s: f"mongodb+srv://ada:x@{s}@db/orders",
    "curl -uuser:x": lambda s: f"curl -uada:{s} https://example.com",
    "a pair of cloudformation": lambda s: {"ParameterKey": "DbPassword", "ParameterValue": s},
    "a form field": lambda s: {"type": "password", "value": s},
    "a form list": lambda s: {"form": [["password", s]]},
    "shadow": lambda s: f"root:$6${s}{s}:19000:0",
    "twice": lambda s: f"password={s} and again token: {s}",
}
LETTERS = string.ascii_letters + string.digits
PLAIN = st.text(LETTERS, min_size=8, max_size=38).map(lambda text: f"Q7{text}")
ODD = st.text(LETTERS + "!$%^*_.~+-", min_size=8, max_size=30).map(lambda text: f"Q7{text}z9")

nestings = st.sampled_from(
    [
        lambda value: {"params": value},
        lambda value: {"x": [1, {"y": value}]},
        lambda value: {"agent_reasoning": value},
        lambda value: {"result": {"stdout": value, "code": 0}},
        lambda value: {"a": [[value]]},
        lambda value: {"reason": f"because: {value}" if isinstance(value, str) else value},
        lambda value: {"text": f"first line\n{value}\nlast line" if isinstance(value, str) else value},
        lambda value: {"text": json.dumps({"inner": value})},
    ]
)


def kept(facts: Any) -> str:
    return json.dumps(POLICY.applied(facts), ensure_ascii=False)


@pytest.mark.parametrize("place", ANY_SECRET.values(), ids=ANY_SECRET)
@given(secret=PLAIN | ODD, nested=nestings)
def test_a_secret_is_found_by_its_place(place: Place, secret: str, nested: Any) -> None:
    assert secret not in kept(nested(place(secret)))


def drawn(prefix: str, letters: str, size: int, suffix: str = "") -> st.SearchStrategy[str]:
    return st.text(letters, min_size=size, max_size=size).map(lambda text: f"{prefix}{text}{suffix}")


URLSAFE = LETTERS + "_-"
FORMATS = st.one_of(
    drawn("AKIA", string.ascii_uppercase + string.digits, 16),
    drawn("ghp_", LETTERS, 36),
    drawn("gho_", LETTERS, 36),
    drawn("github_pat_", LETTERS + "_", 82),
    drawn("glpat-", URLSAFE, 20),
    drawn("xoxb-", string.digits, 12),
    drawn("xapp-1-A", LETTERS, 30),
    drawn("sk_live_", LETTERS, 24),
    drawn("rk_test_", LETTERS, 24),
    drawn("whsec_", LETTERS, 32),
    drawn("sk-", LETTERS, 48),
    drawn("sk-ant-api03-", URLSAFE, 93),
    drawn("sk-proj-", URLSAFE, 60),
    drawn("AIza", URLSAFE, 35),
    drawn("ya29.", URLSAFE, 60),
    drawn("GOCSPX-", URLSAFE, 28),
    drawn("npm_", LETTERS, 36),
    drawn("pypi-AgEIcHlwaS5vcmc", URLSAFE, 60),
    drawn("hf_", LETTERS, 34),
    drawn("dckr_pat_", URLSAFE, 27),
    drawn("SG.", LETTERS, 22, "." + "b" * 43),
    drawn("hvs.", LETTERS, 24),
    drawn("AGE-SECRET-KEY-1", string.ascii_uppercase + string.digits, 58),
    drawn("eyJhbGciOiJIUzI1NiJ9.eyJ", URLSAFE, 30, ".c2lnbmF0dXJl"),
    drawn("SU", string.ascii_uppercase + "234567", 56),
)
SURROUNDED = st.sampled_from(
    ["{}", "see {} there", "x={}", '"{}"', "({})", "a\n{}\nb", "https://x.example/{}/y", "{},{}"]
)


@given(FORMATS, SURROUNDED, nestings)
def test_a_known_kind_of_key_is_found_by_its_look(secret: str, around: str, nested: Any) -> None:
    assert secret not in kept(nested(around.replace("{}", secret)))
    assert secret not in kept({secret: 1})


@given(
    st.binary(min_size=48, max_size=90),
    st.sampled_from(
        ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "EC PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
    ),
)
def test_a_private_key_is_found_with_its_frame(raw: bytes, kind: str) -> None:
    body = base64.b64encode(raw).decode()
    lines = "\n".join([f"-----BEGIN {kind}-----", body[:40], body[40:], f"-----END {kind}-----"])
    for text in (lines, f"key\n{lines}\nmore", lines.replace("\n", "\\n"), lines.rpartition("\n")[0]):
        assert body[:40] not in kept({"x": text}) and body[40:] not in kept({"x": text})


@pytest.mark.parametrize(
    "begin",
    [
        "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC7VJTUt9Us8cKjMzE",
        "MC4CAQAwBQYDK2VwBCIEI",
        "b3BlbnNzaC1rZXktdjEAAAAA",
    ],
)
@given(rest=st.text(LETTERS + "+/", min_size=40, max_size=80))
def test_a_private_key_is_found_without_its_frame(begin: str, rest: str) -> None:
    assert rest not in kept({"x": f"{begin}{rest}"})
    assert rest not in kept({"x": f"{begin}\n{rest}="})


@given(st.binary(min_size=32, max_size=48))
def test_a_long_random_text_is_hidden_as_it_can_hardly_be_anything_else(raw: bytes) -> None:
    text = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    changes = sum(
        (one.isupper(), one.islower(), one.isdigit()) != (two.isupper(), two.islower(), two.isdigit())
        for one, two in pairwise(text)
    )
    if changes >= 0.5 * len(text) and any(one.isdigit() for one in text):
        assert text not in kept({"x": f"take {text} for it"})


HONEST = [
    "an ordinary text, and/or more of it: with a colon; and 100% of it.",
    "the token of ada names no tool shell; what is not named is not allowed",
    "the risk is critical: /etc/passwd: it is configuration of the system",
    "/srv/data/server.pem: it may be a key",
    "https://example.com:8443/a/b?x=1&y=2#z and http://example.com/@ada",
    "mail ada@example.com, cc bob@example.com",
    "commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12 in 3 files",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sri sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
    "request 123e4567-e89b-12d3-a456-426614174000 at 2026-01-31T12:00:00.000Z",
    "docker run -p 8080:80 -p 443 -v /srv:/srv image",
    "mkdir -p /srv/out/reports && ls -la",
    "def test_f3_a_human_who_is_connected_answers_by_the_command_line_as_well(platform: Platform) -> None:",
    "BackchannelSupervisionHandlerServiceRequestAnswerDecisionFactory",
    "select name, count(*) from orders where day > '2026-01-01' group by 1",
    "the token is revoked, the keyboard is broken, the author: Ada",
    "epoch 7, cursor 1a2b3c4d.1234567, stream BC_EVENTS_main, subject bc.main.evt.inbox.ada.low.decision",
    '{"path": "/srv/out/a.json", "rows": 10, "columns": ["a", "b"], "sure": true}',
    "user: ada\nport: 5432\nname: orders\n",
    "Content-Type: application/json; charset=utf-8",
]


@pytest.mark.parametrize("text", HONEST)
def test_an_honest_text_stays_as_it_is(text: str) -> None:
    facts = {"reason": text, "params": {"note": [text]}}
    assert POLICY.applied(facts) == facts


def test_the_secret_goes_and_what_is_around_it_stays() -> None:
    found = POLICY.applied(
        {
            "a": "postgres://ada:hunter2@db:5432/orders",
            "b": ["tool", "--password", "hunter2", "--host", "db"],
            "c": {"name": "DB_PASSWORD", "value": "hunter2"},
            "d": "https://example.com/?a=b&api_key=hunter2&c=d",
        }
    )
    told = json.dumps(found)
    assert "hunter2" not in told
    for word in ("postgres://ada:", "@db:5432/orders", "--host", "DB_PASSWORD", "a=b&api_key=", "&c=d"):
        assert word in told
    assert found["b"][2] == found["c"]["value"], "the same secret has the same digest"


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "A1b",
        "password",
        "password=",
        "password: ",
        "--p ",
        "-p",
        "://",
        "://a:",
        "a=",
        '"',
        "\\",
        '\\"',
        "{",
        "[",
        "<",
        "<a>",
        "eyJ",
        "eyJaaaaaaaa.",
        "MII",
        "name=",
        'name="a"',
        "\n",
        " ",
        "-----BEGIN ",
        "token is ",
        "Bearer ",
        "='",
        "a.",
        "-",
        "sk-",
        "x" * 63 + "=",
    ],
    ids=repr,
)
def test_the_work_for_a_text_grows_with_its_length_alone(piece: str) -> None:
    """What takes time in proportion to a power of the length would not end here."""
    text = piece * (1_000_000 // len(piece))
    found = POLICY.applied({"content": text})["content"]
    assert found == text or found["bytes"] > 0
