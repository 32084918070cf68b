from __future__ import annotations

from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.grant import BadGrant, Grant, digest_of_action, read, require, sign
from backchannel.errors import Expired

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PARAMS: dict[str, Any] = {"path": "out.md", "rows": 3}
GRANT = Grant(
    grant_id="g1",
    request_id="r1",
    group="main",
    agent="ada",
    tool="file_write",
    digest=digest_of_action("main", "ada", "file_write", PARAMS),
    conditions=({"kind": "path_prefix", "value": "reports/"},),
    policy="p",
    iat=1000,
    exp=1060,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def test_what_supervision_signed_is_read_as_it_was() -> None:
    assert read(sign(GRANT, KEY), KEY.public_key(), 1000) == GRANT


def test_a_lapsed_grant_says_so() -> None:
    with pytest.raises(Expired):
        read(sign(GRANT, KEY), KEY.public_key(), 1060)


def test_nobody_else_can_sign_one() -> None:
    secret = KEY.public_key().public_bytes_raw()
    payload = jwt.decode(sign(GRANT, KEY), options={"verify_signature": False})
    forged = [
        sign(GRANT, OTHER),
        jwt.encode(payload, secret, algorithm="HS256"),
        jwt.encode(payload, None, algorithm="none"),
        sign(GRANT, KEY)[:-2],
        "",
        "a.b.c",
        "x" * 20_000,
    ]
    for text in forged:
        with pytest.raises(BadGrant):
            read(text, KEY.public_key(), 1000)


@pytest.mark.parametrize("field", ["grant_id", "digest", "conditions", "exp", "agent"])
def test_a_signed_grant_that_lacks_something_is_refused(field: str) -> None:
    payload = jwt.decode(sign(GRANT, KEY), options={"verify_signature": False})
    del payload[field]
    with pytest.raises(BadGrant):
        read(jwt.encode(payload, KEY, algorithm="EdDSA"), KEY.public_key(), 1000)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_only_the_very_parameters_pass(params: dict[str, Any]) -> None:
    if params == PARAMS:
        return
    with pytest.raises(BadGrant, match="parameters"):
        require(GRANT, "main", "file_write", params)


def test_the_granted_action_passes_and_no_other_tool_group_or_agent() -> None:
    require(GRANT, "main", "file_write", {"rows": 3, "path": "out.md"})
    for group, tool in (("other", "file_write"), ("main", "shell")):
        with pytest.raises(BadGrant):
            require(GRANT, group, tool, PARAMS)
    with pytest.raises(BadGrant):
        require(replace(GRANT, agent="eve"), "main", "file_write", PARAMS)
