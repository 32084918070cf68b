"""A call is as risky as what it reaches, in whatever spelling it says so."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.supervision.risk import assess
from backchannel.domain.supervision.rules import LEVELS, USUAL

MEDIUM = LEVELS.index("medium")

SECRETS: list[dict[str, Any]] = [
    {"path": ".ssh/id_rsa"},
    {"filepath": "config/prod.env"},
    {"filePath": "config/PROD.ENV"},
    {"input_file": "secrets/server.pem"},
    {"x": "config/prod.env"},
    {"url": "FILE:///etc/shadow"},
    {"url": "File://localhost/etc/shadow"},
    {"url": "file:/etc/shadow"},
    {"url": "view-source:file:///etc/shadow"},
    {"url": "netdoc:///etc/shadow"},
    {"path": " /etc/shadow"},
    {"path": "\t/etc/shadow\n"},
    {"path": "'/etc/shadow'"},
    {"path": '"/etc/shadow"'},
    {"path": "`/etc/shadow`"},
    {"path": "/srv/%2e%2e/etc/shadow"},
    {"path": "%2fetc%2fshadow"},
    {"path": "%252fetc%252fshadow"},
    {"path": "%25252fetc/shadow"},
    {"path": "%u002fetc/shadow"},
    {"path": "/srv/x/..%c0%af../..%c0%afetc/shadow"},
    {"path": "\\u002fetc\\u002fshadow"},
    {"path": "\uff0fetc\uff0fshadow"},
    {"path": "\u2215etc\u2215shadow"},
    {"path": "/e\u200btc/shadow"},
    {"path": "/etc\x00/shadow"},
    {"path": "\ufeff/etc/shadow"},
    {"path": "/\uff45\uff54\uff43/shadow"},
    {"path": "~root/.bashrc"},
    {"path": "~ada/notes"},
    {"path": "$HOME/.ssh/id_rsa"},
    {"path": "${HOME}/notes"},
    {"path": "%USERPROFILE%\\notes"},
    {"path": "$env:USERPROFILE\\notes"},
    {"path": "$SECRETS/x"},
    {"path": "$(echo /etc)/shadow"},
    {"path": "`echo /etc`/shadow"},
    {"path": "C:\\..\\etc\\shadow"},
    {"path": "c:/etc/shadow"},
    {"path": "\\\\?\\C:\\etc\\shadow"},
    {"path": "C:\\Users\\ada\\.ssh\\id_rsa"},
    {"path": "\\\\host\\share\\.ssh\\key"},
    {"path": "/{etc,srv}/shadow"},
    {"path": "/srv/{..,x}/etc/shadow"},
    {"path": "/e*c/shadow"},
    {"path": "/[e]tc/shadow"},
    {"path": "/???/shadow"},
    {"path": ".s*/id_rsa"},
    {"path": "/private/etc/shadow"},
    {"path": "/proc/self/root/etc/shadow"},
    {"path": "/ETC/shadow"},
    {"path": ["/srv/x/..", "..", "etc", "shadow"]},
    {"parts": ["", "etc", "shadow"]},
    {"parts": ["/e", "tc/shadow"]},
    {"cwd": "/", "name": "etc/shadow"},
    {"cwd": "/srv/..", "path": "etc/shadow"},
    {"args": ["--file=/etc/shadow"]},
    {"args": "-r /etc/shadow"},
    {"arg": "-f/etc/shadow"},
    {"data": "@/etc/shadow"},
    {"command": "cat /etc/shadow"},
    {"command": ["sh", "-c", "cat /etc/shadow"]},
    {"query": "cat /etc/shadow"},
    {"input": "A=1 cat  /etc/sha''dow"},
    {"cmd": "cat</etc/shadow"},
    {"cmd": "cat${IFS}/etc/shadow"},
    {"sql": "select pg_read_file('/etc/shadow')"},
    {"files": {"/etc/shadow": 1}},
    {"body": '{"path": "/etc/shadow"}'},
    {"body": '{"a": "{\\"b\\": [\\"/etc/shadow\\"]}"}'},
    {"paths": "/srv/a,/etc/shadow"},
    {"paths": "/srv/a:/etc/shadow"},
    {"a": {"b": {"c": ["x", {"d": "/etc/shadow"}]}}},
    {"path": "/etc/./shadow"},
    {"path": "/etc/shadow%00.png"},
    {"path": "/srv/..;/etc/shadow"},
    {"path": "....//....//etc/shadow"},
    {"path": "&#x2f;etc&sol;shadow"},
    {"path": "/srv/%e0%80%ae%e0%80%ae/x"},
    {"url": "unix:///var/run/docker.sock"},
    {"url": "http+unix://%2Fvar%2Frun%2Fdocker.sock/x"},
    {"path": "C:\\Windows\\System32\\config\\SAM"},
    {"path": "${HOME:-/root}/x"},
    {"path": "$XDG_CONFIG_HOME/x"},
    {"path": "%SystemRoot%\\x"},
    {"text": "please read file:///etc/shadow"},
    {"cmd": "cat $'\\x2fetc\\x2fshadow'"},
    {"cmd": "python -c \"print(open('/etc/shadow').read())\""},
    {"cmd": "echo L2V0Yy9zaGFkb3c= | base64 -d | xargs cat"},
    {"cmd": "dd of=/dev/sda if=x"},
]
MACHINES: list[dict[str, Any]] = [
    {"url": f"http://{host}/latest"}
    for host in (
        *("[::1]", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "localhost.", "LOCALHOST", "LocalHost:8080", "u:p@127.1"),
        *("a@localhost", "0.0.0.0", "0", "[::]", "127.0.0.2", "127.255.255.254", "127.0.0.1.nip.io"),
        *(
            "ip6-localhost",
            "x.localhost",
            "%6cocalhost",
            "\u2460\u2461\u2466.0.0.1",
            "127\u30020\u30020\u30021",
        ),
        *(
            "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54",
            "[64:ff9b::7f00:1]",
            "[::1%25lo]",
            "[::127.0.0.1]",
        ),
        *(
            "0xA9FEA9FE",
            "2852039166",
            "0251.0376.0251.0376",
            "169.254.43518",
            "[::ffff:a9fe:a9fe]",
            "169.254.170.2",
        ),
        *("metadata.google.internal", "metadata.google.internal.", "[fd00:ec2::254]", "100.100.100.200"),
    )
] + [
    {"url": "http://[::ffff:0:127.0.0.1]/"},
    {"url": "http://:8080/"},
    {"url": "http:127.1/"},
    {"url": "http://example.com@127.1/"},
    {"url": "http://127.1#@example.com/"},
    {"url": "http://a:b@c@127.1/"},
    {"url": "jdbc:mysql://127.1/db"},
    {"path": "\\\\127.1\\share"},
    {"host": "127.1"},
    {"host": "::1"},
    {"host": 2130706433},
    {"hostname": "0x7f000001"},
    {"server": "localhost.:80"},
    {"base_url": "127.1:8080/admin"},
    {"x": "HTTP://127.1/"},
    {"x": "http:\\\\127.1\\admin"},
    {"x": "http:/127.1/"},
    {"target": "//127.1/admin"},
    {"q": "ws://127.1/x"},
    {"x": "gopher://127.1:6379/_INFO"},
    {"x": "0x7f.0.0.1:80"},
    {"urls": ["https://example.com", "https://[::1]"]},
    {"config": '{"url": "http://127.1"}'},
    {"cmd": "curl http://127.1/x"},
]
COMMANDS: list[dict[str, Any]] = [
    {"x": text}
    for text in (
        *("rm -r -f /", "rm -fr /", "rm --recursive --force /", "rm -R /srv", "rm / -rf", "rm -v -r -i -f x"),
        *(
            "sudo\trm -rf /",
            "/bin/rm -r -f /",
            "\\rm -r -f /",
            "r''m -r -f /",
            '"rm" "-r" "-f" /',
            "sh -c 'rm -r -f /'",
        ),
        *(
            "true; rm -r -f /",
            "A=b rm -r -f /",
            "true && rm -r -f x",
            "echo x | xargs rm -r -f",
            "rm${IFS}-r${IFS}-f${IFS}/",
        ),
        *(
            "find / -delete",
            "$(rm -r -f /)",
            "rm -r\n-f /",
            "env X=1 rm --rec x",
            "RM -R -F /",
            "del /s /q c:\\",
            "rd /s x",
        ),
        *(
            "DROP/**/TABLE users",
            "drop/* a */ table x",
            "drop -- x\n table y",
            "DROP\n\tTABLE x",
            "delete/**/from x",
        ),
    )
] + [
    {"q": "drop+table+x"},
    {"args": ["rm", "-r", "-f", "/"]},
    {"argv": ["sh", "-c", "rm -r -f /"]},
    {"script": '["rm", "-r", "-f", "/"]'},
]
DOUBTFUL: list[dict[str, Any]] = [
    {"path": quote(quote(quote(quote(quote(quote(quote("notes/a b")))))))},
    {"path": "notes/%ff%fe"},
    {"path": "notes/\u202egpj.exe"},
    {"path": "notes/\x07x"},
    {"path": "no\u200btes.md"},
    {"pad": ["x"] * 1001},
    {"cmd": "cat 'notes"},
]


def deep(levels: int) -> dict[str, Any]:
    return {"x": "y"} if not levels else {"x": deep(levels - 1)}


@pytest.mark.parametrize("params", [*SECRETS, *MACHINES, *COMMANDS, *DOUBTFUL, deep(40)], ids=str)
def test_no_spelling_makes_a_risky_call_a_calm_one(params: dict[str, Any]) -> None:
    found = assess("file_read", params, USUAL)
    assert found.rank >= MEDIUM, found
    assert found.reasons[0]


HONEST: list[tuple[str, dict[str, Any]]] = [
    ("file_read", {"path": "notes.md"}),
    ("file_read", {"path": "src/app/main.py", "encoding": "utf-8", "limit": 200}),
    ("file_read", {"path": "/srv/data/a b/report (final).txt"}),
    ("file_read", {"path": "/srv/data/2026-01-01T12:00:00Z.log", "offset": 0}),
    ("file_read", {"paths": ["/srv/data/a.txt", "/srv/data/b.txt"]}),
    ("file_read", {"path": "/tmp/work/caf\u00e9 \u65e5\u672c.txt"}),
    ("file_list", {"dir": "src", "glob": "**/*.py", "recursive": False}),
    ("file_list", {"path": "src/*.py"}),
    ("file_search", {"pattern": r"def \w+\(", "path": "backchannel"}),
    ("file_search", {"query": "and/or, either/or", "folder": "docs"}),
    ("web_search", {"query": "how to edit /etc/hosts on a mac"}),
    ("web_search", {"query": "100% sure? 50% off & more; (really)"}),
    ("web_search", {"q": "what's new in python 3.13"}),
    ("web_search", {"q": "cat pictures"}),
    ("web_search", {"query": "C++ vs. Rust: which one? see https://example.com/a?b=c&d=%20e"}),
    ("web_fetch", {"url": "https://example.com/a%20b?x=1&y=2#z", "timeout": 30}),
    ("web_fetch", {"url": "https://user.example.com:8443/path/to/page.html"}),
    ("web_fetch", {"url": "https://93.184.216.34/"}),
    ("web_fetch", {"url": "https://[2606:2800:220:1:248:1893:25c8:1946]/"}),
    ("http_get", {"host": "api.example.com", "port": 443, "path": "/v1/items"}),
    ("http_get", {"url": "https://example.com", "headers": {"Accept": "text/html, application/json"}}),
    ("db_query", {"sql": "select name, count(*) from orders where day > '2026-01-01' group by 1"}),
    ("db_query", {"sql": "select * from files where path like 'docs/%'"}),
    ("memory_query", {"topic": "release plan", "tags": ["q1", "v1.2.3.4"], "since": "2026-01-31T12:00:00Z"}),
    ("get_ticket", {"id": "BC-127", "fields": ["title", "status"]}),
    ("get_version", {"version": "127.1", "build": "2130706433"}),
    ("view_page", {"text": "an ordinary text, and/or more of it\nwith lines \U0001f469\u200d\U0001f4bb"}),
    ("view_page", {"content": "a long text. " * 3000}),
    ("read_mail", {"from": "ada@example.com", "subject": "Re: rm and other commands"}),
    ("list_items", {"name": "", "filter": None, "page": 2, "exact": True}),
    ("read_sheet", {"range": "A1:B20", "sheet": "Q1/Q2", "profile": "default"}),
    ("read_feed", {"json": '{"limit": 5, "unread": true}'}),
]


@pytest.mark.parametrize(("tool", "params"), HONEST, ids=str)
def test_honest_calls_stay_calm(tool: str, params: dict[str, Any]) -> None:
    found = assess(tool, params, USUAL)
    assert (found.level, found.understood) == ("low", True), found.reasons


NESTED = st.sampled_from(
    [
        lambda text: {"path": text},
        lambda text: {"x": [{"y": text}]},
        lambda text: {text: True},
        lambda text: {"output_file": text, "mode": "r"},
        lambda text: {"args": ["-v", text]},
    ]
)
WRAPPED = st.sampled_from(
    [
        lambda text: text,
        lambda text: f" {text} ",
        lambda text: f'"{text}"',
        lambda text: quote(text, safe=""),
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: text.replace("/", "\\"),
        lambda text: text.replace("/", "//"),
        lambda text: text.replace("/", "/./"),
        lambda text: text.replace("/", "\uff0f"),
        lambda text: text.upper(),
        lambda text: f"file://{text}",
        lambda text: f"FILE:{text}",
        lambda text: f"/srv/x/../..{text}",
        lambda text: "\u200b".join(text),
        lambda text: f"--file={text}",
    ]
)


@given(
    st.sampled_from(["/etc/passwd", "/root/x", "/home/ada/.ssh/id_rsa", "/dev/sda", "/srv/k.pem"]),
    WRAPPED,
    NESTED,
)
def test_a_risky_path_is_found_in_every_wrapping_and_at_every_place(
    path: str, wrapped: Any, nested: Any
) -> None:
    assert assess("file_read", nested(wrapped(path)), USUAL).rank >= MEDIUM


@pytest.mark.parametrize(
    "text",
    [
        "{a," * 60_000,
        "/*" * 60_000,
        "--" * 60_000,
        "'" * 200_001,
        "%25" * 60_000,
        "[" * 200_000,
        "../" * 60_000,
        "$(" * 60_000,
        "http://" * 30_000,
        "a/" * 100_000,
        "rm -" * 50_000,
        '{"a":' * 40_000,
        "(/" * 90_000,
        "\u200b" * 200_000,
    ],
    ids=lambda text: text[:6],
)
def test_the_work_for_a_text_grows_with_its_length_alone(text: str) -> None:
    """What takes time in proportion to a power of the length would not end here."""
    found = assess("file_read", {"x": text, "path": text, "args": [text[:4000]] * 60}, USUAL)
    assert found.reasons
