"""How secrets look in texts: the expressions by which they are found.

Each takes time in proportion to the text: every part of it is bounded or possessive, and none can be read in
two ways.
"""

from __future__ import annotations

import re

HARMLESS = re.compile(r"[^\s:=<>\"'`%@]{0,12}|[0-9a-f-]{0,128}|sha256:[0-9a-f]{64}|[0-9TZ:.+-]{0,40}")
"""What is looked at no further: short words, numbers and times, and what the platform calls things by."""
KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,64}PRIVATE KEY(?: BLOCK)?-----.*|PuTTY-User-Key-File-.*"
    r"|\b(?:MII[A-Za-z0-9+/]{61}|MC4CAQAw|MHcCAQEE|MIGHAgEA|b3BlbnNzaC1rZXk)[A-Za-z0-9+/=\s\\n]*+",
    re.DOTALL,
)
MORE_KEYS = (
    *(
        "lin_api_",
        "ntn_",
        "secret_",
        "figd_",
        "sq0atp-",
        "sq0csp-",
        "dapi",
        "glsa_",
        "glc_",
        "PMAK-",
        "NRAK-",
    ),
    *(
        "sntrys_",
        "sbp_",
        "nfp_",
        "fo1_",
        "gsk_",
        "pplx-",
        "r8_",
        "xai-",
        "AKCp",
        "ATBB",
        "HRKU-",
        "dp.pt.",
        "EAACE",
    ),
)
FORMATS = tuple(
    (needle, re.compile(pattern))
    for needle, pattern in (
        ("eyJ", r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+)?"),
        *((key, rf"{key}[A-Z0-9]{{12,}}+") for key in ("AKIA", "ASIA", "AGPA", "AROA", "ABIA", "ACCA")),
        *(
            (key, rf"{key}[A-Za-z0-9]{{16,}}+")
            for key in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "npm_", "hf_")
        ),
        *((key, rf"{key}[A-Za-z0-9_]{{16,}}+") for key in ("github_pat_", "sk_", "rk_", "whsec_")),
        *(
            (key, rf"{key}[A-Za-z0-9_.=-]{{16,}}+")
            for key in ("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "gloas-")
        ),
        *(
            (key, rf"{key}[A-Za-z0-9_-]{{16,}}+")
            for key in ("sk-", "AIza", "ya29.", "GOCSPX-", "pypi-", "dckr_pat_")
        ),
        *(
            (key, rf"{key}[A-Za-z0-9_.=-]{{20,}}+")
            for key in ("hvs.", "hvb.", "ATATT", "dop_v1_", "shpat_", "shpss_")
        ),
        *((key, rf"{re.escape(key)}[A-Za-z0-9_-]{{16,}}+") for key in MORE_KEYS),
        ("/webhooks/", r"/webhooks/[0-9]{5,24}+/[A-Za-z0-9_-]{16,}+"),
        *(
            (key, rf"{re.escape(key)}[^\s:\"']{{8,512}}+")
            for key in ("$1$", "$5$", "$6$", "$y$", "$2a$", "$2b$", "$2y$", "$apr1$", "$argon2")
        ),
        ("xox", r"xox[a-z]-[A-Za-z0-9-]{8,}+"),
        ("xapp-", r"xapp-[A-Za-z0-9-]{8,}+"),
        ("hooks.slack", r"hooks\.slack\.com/services/[A-Za-z0-9/]{8,}+"),
        ("SG.", r"SG\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+"),
        ("key-", r"key-[0-9a-f]{32}(?![0-9a-f])"),
        ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-(?:PQ-)?1[A-Za-z0-9]{16,}+"),
        ("prv", r"[xyzt]prv[A-Za-z0-9]{60,}+"),
        (":AA", r"(?<![0-9])[0-9]{6,12}+:AA[A-Za-z0-9_-]{30,}+"),
        ("S", r"(?<![A-Za-z0-9])S[UAOCN][A-Z2-7]{54,}+"),
    )
)
"""Keys of well-known kinds: what must stand in a text for there to be one, and how it goes on."""
SCHEME = re.compile(
    r"\b(bearer|basic|digest|apikey|negotiate|token)([ \t]{1,4})([A-Za-z0-9._~+/=:-]{8,}+)", re.IGNORECASE
)
LOGIN = re.compile(r"(://[^\s/@:\"'<>?#]{0,256}+:)([^\s/\"'<>?#]{1,512})(?=@)")
LOGIN_ODD = re.compile(
    r"(\b(?!https?:)[A-Za-z][A-Za-z0-9+.-]{1,20}+://[^\s/@:\"'<>]{0,128}+:)([^\s\"'<>]{1,256})(?=@)"
)
"""Passwords of databases often hold what should be encoded."""
LOGIN_BY_TOKEN = re.compile(r"(://)([^\s/@:\"'<>?#]{16,512}+)(?=@)")
NAMED = re.compile(
    r"(?<![A-Za-z0-9_.$])(?P<name>[A-Za-z_][A-Za-z0-9_.-]{0,127}+)"
    r"(?P<sep>\]?(?:\\{0,7}+[\"'])?\]?[ \t]{0,16}+(?:=>|->|:=|==|=|:)\s{0,16}+)"
    r"(?:(?P<quote>\\{0,7}+[\"'`]))?"
)
OPTION = re.compile(
    r"(?<![A-Za-z0-9_-])(?P<name>--?[A-Za-z][A-Za-z0-9_-]{0,63}+)"
    r"(?P<sep>\s{1,8}+|[\"',\s]{2,8}+)(?P<value>[^\s\"',-][^\s\"']{0,4096}+)"
)
SAID = re.compile(
    r"\b(?P<name>pass(?:word|wd|phrase|code)|secret|token|api[ _-]?key|identified by)"
    r"(?P<sep>\s{1,4}(?:is|was|to|of|as|by)?\s{0,4}[:=]?\s{0,4})"
    r"(?P<quote>[\"'`])(?P<value>[^\"'`\n]{1,4096})"
    r"|\b(?P<name2>pass(?:word|wd|phrase|code)|secret|token|api[ _-]?key)"
    r"(?P<sep2> (?:is|was)[:]? )(?P<value2>\S{1,4096}+)",
    re.IGNORECASE,
)
ELEMENT = re.compile(
    r"<(?P<name>[A-Za-z_][A-Za-z0-9_.:-]{0,127}+)(?P<sep>[^<>]{0,256}+>)(?P<value>[^<]{1,4096}+)(?=<)"
)
PAIR = re.compile(
    r"(?P<sep>\b(?:name|key|header|variable|env|id)\\{0,7}[\"']?\s{0,4}[:=]\s{0,4}\\{0,7}[\"']"
    r"(?P<name>[A-Za-z_][A-Za-z0-9_. -]{0,127})\\{0,7}[\"']"
    r"[^\n\"'{}]{0,16}\n?[^\n\"'{}]{0,32}[\"']?"
    r"(?:value|val|content|default)\\{0,7}[\"']?\s{0,4}[:=]\s{0,4}\\{0,7}[\"']?)(?P<value>[^\"'\n\\<>]{1,4096})",
    re.IGNORECASE,
)
USER_ATTACHED = re.compile(r"((?<![A-Za-z0-9_-])-u[A-Za-z0-9_.@-]{1,64}+:)([^\s\"']{1,512}+)")
ATTACHED = re.compile(r"(?<=\s)(-p)([^\s\"'-][^\s\"']{2,512}+)")
TAKES_P = re.compile(
    r"\b(?:mysql|mysqldump|mysqladmin|mariadb|sshpass|mongo|mongosh|mongodump"
    r"|docker login|podman login|7z|zip|unzip|keytool|htpasswd)\b"
)
RANDOM = re.compile(r"(?<![A-Za-z0-9_=+-])[A-Za-z0-9_=+-]{28,512}+(?![A-Za-z0-9_=+-])")
A_DIGEST = re.compile(r"sha-?(?:1|224|256|384|512)[-:=]|md5[-:=]", re.IGNORECASE)
BREAK = re.compile(r"[\s\"'`(]")
PORT = re.compile(r"\d{1,5}(?::\d{1,5}){0,2}(?:/\w{1,8})?")
LINE = re.compile(
    r"[ \t]*+(?:-[ \t]+)?"
    r"(?:(?:export|set|setx|declare|env|local|const|let|var|ENV|ARG)[ \t]+)?(?:-[A-Za-z][ \t]+)?[\"']?"
)
BLOCK = re.compile(r"[|>][+-]?[ \t]*+\n(?:[ \t]+[^\n]*+\n?){1,64}+")
"""What YAML takes from the lines below."""
CALL = re.compile(
    r"(?P<sep>[\"'`](?P<name>[A-Za-z_][A-Za-z0-9_.-]{0,127}+)[\"'`]\s{0,8}+,\s{0,8}+[\"'`])"
    r"(?P<value>[^\"'`\n]{1,4096}+)"
)
"""``setenv("DB_PASSWORD", "x")``."""
AFTER_A_SPACE = re.compile(
    r"(?P<sep>(?<![A-Za-z0-9])(?:ENV|ARG|setenv|setx|export|login\s{1,4}\S{1,128}+)\s{1,4}+"
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]{0,127}+)\s{1,4}+)"
    r"(?P<value>[^\s\"'=]\S{0,4096}+)"
)
"""``ENV DB_PASSWORD x``, and what ~/.netrc says."""
ENCODED = re.compile(
    r"(?P<sep>%(?:26|3[fF])(?P<name>[A-Za-z_][A-Za-z0-9_.-]{0,127}+)%3[dD])(?P<value>[^&\s\"'<>]{1,4096}+)"
)
"""A query within a query."""
TO_SPACE = re.compile(r"[^\s\"'`<>]{1,4096}+")
IN_QUERY = re.compile(r"[^\s\"'`<>&#;]{1,4096}+")
TO_THE_END = re.compile(r"[^\r\n\"'`]{1,4096}+")
BRACKETED = re.compile(r"\[[^\]]{0,4096}+\]|\{[^}]{0,4096}+\}")
CLOSING = {quote: re.compile(rf"(?:[^\\{quote}]|\\.){{0,8192}}+", re.DOTALL) for quote in "\"'`"}
