"""Secrets in names and texts: how a field that holds one is called, and where in a text one stands.

Names of one word after another (``dbPassword``, ``X-Api-Key``) are taken apart into words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from backchannel.domain.audit import secret_look as look

Hide = Callable[[str], str]
"""What stands in the place of a secret."""

SECRET_WORDS = frozenset(
    {
        *(
            "token",
            "tokens",
            "password",
            "passwords",
            "passwd",
            "passphrase",
            "passcode",
            "passwort",
            "kennwort",
        ),
        *("pwd", "pw", "pass", "psk", "secret", "secrets", "key", "keys", "apikey", "authorization", "auth"),
        *("credential", "credentials", "cookie", "cookies", "bearer", "jwt", "private", "seed", "nonce"),
        *("signature", "sig", "grant", "session", "otp", "totp", "mnemonic", "pin"),
    }
)
SECRET_ENDINGS = (
    *("password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "secretkey"),
    *("privatekey", "credentials", "sessionid", "passkey", "authkey", "signingkey", "encryptionkey"),
)
"""Words written as one: ``PGPASSWORD``, ``authtoken``."""
PUBLIC_ENDINGS = frozenset(
    {"id", "ids", "name", "names", "count", "type", "kind", "digest", "hash", "at", "ttl", "seconds", "bytes"}
)
"""A name that ends so tells about a secret and does not hold it: ``token_id``, ``key_type``."""
_TELLS_WHERE = frozenset(
    {"file", "path", "url", "uri", "dir", "env", "stdin", "length", "size", "chain", "server"}
)
"""An option that ends so says where a secret is found."""
_STRONG = frozenset(
    {
        "password",
        "passwords",
        "passwd",
        "passphrase",
        "secret",
        "authorization",
        "cookie",
        "cookies",
        "credentials",
    }
)
"""What follows these is a secret to the end of the line, also where it has spaces."""
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def is_secret(name: str) -> bool:
    """Whether a field of this name holds a secret: ``apiKey``, ``X-Memory-Auth``, ``db_password``."""
    words = _words(name)
    if not words or words[-1] in PUBLIC_ENDINGS:
        return False
    return not SECRET_WORDS.isdisjoint(words) or any(word.endswith(SECRET_ENDINGS) for word in words)


def last_word(name: str) -> str:
    """What a name ends in: ``ParameterKey`` is a key."""
    return (_words(name) or [""])[-1]


def is_option(text: str) -> bool:
    """Whether an argument says that the next one is a secret: ``--password``, ``-p``."""
    if text == "-p":
        return True
    return text.startswith("-") and "=" not in text and " " not in text and _is_secret_option(text)


def within_argument(before: str, text: str, program: str) -> str | None:
    """What of an argument is a secret because of the one before it, or of the program; None if nothing is."""
    if before in ("-u", "--user") and ":" in text:
        return text.partition(":")[2]
    if text.startswith("-p") and len(text) > 2 and look.TAKES_P.search(program):
        return text[2:]
    return None


def hidden(text: str, hide: Hide) -> str:
    """The text without the secrets in it."""
    if look.HARMLESS.fullmatch(text):
        return text
    text = look.KEY_BLOCK.sub(lambda found: hide(found[0]), text)
    text = look.PAIR.sub(lambda found: _behind(found, hide), text)
    text = _named(text, hide)
    text = look.SCHEME.sub(lambda found: _scheme(found, hide), text)
    for pattern in (look.LOGIN, look.LOGIN_ODD, look.LOGIN_BY_TOKEN, look.USER_ATTACHED):
        text = pattern.sub(lambda found: found[1] + hide(found[2]), text)
    for needle, pattern in look.FORMATS:
        if needle in text:
            text = pattern.sub(lambda found: hide(found[0]), text)
    text = _options(text, hide)
    if "<" in text:
        text = look.ELEMENT.sub(lambda found: _by_name(found, hide), text)
    for pattern in (look.CALL, look.AFTER_A_SPACE, look.ENCODED):
        text = pattern.sub(lambda found: _behind(found, hide), text)
    text = look.SAID.sub(lambda found: _said(found, hide), text)
    return look.RANDOM.sub(lambda found: _random(found, hide), text)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]


def _is_secret_option(option: str) -> bool:
    return is_secret(option) and _words(option)[-1] not in _TELLS_WHERE


def _named(text: str, hide: Hide) -> str:
    """Without the values that stand behind a name: ``password: x``, ``TOKEN=x``, ``"apiKey": "x"``."""
    kept: list[str] = []
    position = 0
    while (found := look.NAMED.search(text, position)) is not None:
        end = found.end()
        if not is_secret(found["name"]) or _ends_a_path(text, found):
            # What looks like a value may be the next name: ``a: password: x``.
            kept.append(text[position : found.end("sep")])
            position = found.end("sep")
            continue
        value = _value_at(text, found)
        kept.append(text[position:end])
        if value:
            kept.append(value if value.startswith("hmac-sha256:") else hide(value))
        position = end + len(value)
    kept.append(text[position:])
    return "".join(kept)


def _value_at(text: str, found: re.Match[str]) -> str:
    """The value that begins where a name and its separator end."""
    start, quote = found.end(), found["quote"]
    if quote is not None and len(quote) == 1:
        return _match(look.CLOSING[quote], text, start)
    if quote is not None:
        end = text.find(quote, start, start + 8192)
        return text[start:end] if end >= 0 else _match(look.TO_THE_END, text, start)
    for pattern in (look.BRACKETED, look.BLOCK):
        if found_whole := _match(pattern, text, start):
            return found_whole
    before = text[max(0, found.start() - 1) : found.start()]
    if before in ("?", "&"):
        return _match(look.IN_QUERY, text, start)
    if not _STRONG.isdisjoint(_words(found["name"])) or _begins_a_line(text, found.start()):
        return _match(look.TO_THE_END, text, start)
    return _match(look.TO_SPACE, text, start)


def _ends_a_path(text: str, found: re.Match[str]) -> bool:
    """``/etc/passwd: it is …`` says something of a file."""
    if text[found.start() - 1 : found.start()] != "/" or not found["sep"].startswith(":"):
        return False
    return look.BREAK.split(text[max(0, found.start() - 160) : found.start()])[-1][:1] in ("/", "~", ".")


def _begins_a_line(text: str, at: int) -> bool:
    begin = max(text.rfind("\n", max(0, at - 64), at) + 1, at - 64, 0)
    return look.LINE.fullmatch(text, begin, at) is not None


def _match(pattern: re.Pattern[str], text: str, at: int) -> str:
    found = pattern.match(text, at)
    return found[0] if found else ""


def _scheme(found: re.Match[str], hide: Hide) -> str:
    """``Bearer x``; the words "token" and "basic" stand in ordinary texts as well."""
    scheme, value = found[1].lower(), found[3]
    if scheme in ("token", "digest", "basic", "negotiate") and value.isalpha():
        return found[0]
    return hide(found[0])


def _options(text: str, hide: Hide) -> str:
    takes_p = look.TAKES_P.search(text) is not None

    def option(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if name == "-p":
            meant = takes_p or not (look.PORT.fullmatch(value) or "/" in value)
        elif name in ("-u", "--user"):
            user, colon, password = value.partition(":")
            return found[0] if not colon else f"{name}{found['sep']}{user}:{hide(password)}"
        else:
            meant = _is_secret_option(name)
        return f"{name}{found['sep']}{hide(value)}" if meant else found[0]

    text = look.OPTION.sub(option, text)
    return look.ATTACHED.sub(lambda found: found[1] + hide(found[2]), text) if takes_p else text


def _by_name(found: re.Match[str], hide: Hide) -> str:
    if not is_secret(found["name"]):
        return found[0]
    return f"<{found['name']}{found['sep']}{hide(found['value'])}"


def _behind(found: re.Match[str], hide: Hide) -> str:
    return found["sep"] + hide(found["value"]) if is_secret(found["name"]) else found[0]


def _said(found: re.Match[str], hide: Hide) -> str:
    if found["name"]:
        return f"{found['name']}{found['sep']}{found['quote']}{hide(found['value'])}"
    value = found["value2"]
    if not found["name2"].lower().startswith("pass") and value.rstrip(".,;:!?").isalpha():
        return found[0]  # "the token is revoked"
    return f"{found['name2']}{found['sep2']}{hide(value)}"


def _random(found: re.Match[str], hide: Hide) -> str:
    """Long mixtures of letters and digits hardly mean anything else; digests are hexadecimal, or say so."""
    text = found[0]
    before = found.string[max(0, found.start() - 160) : found.start()]
    if look.A_DIGEST.search(look.BREAK.split(before)[-1]) or look.A_DIGEST.match(text):
        return text
    kinds = [_kind(letter) for letter in text]
    changes = sum(one != other for one, other in pairwise(kinds))
    return hide(text) if {"a", "A", "0"} <= set(kinds) and changes >= 0.4 * len(text) else text


def _kind(letter: str) -> str:
    if letter.isdigit():
        return "0"
    return "A" if letter.isupper() else "a" if letter.islower() else "-"
