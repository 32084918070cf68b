"""Our keys and claims are those of NATS, as its public implementation for Python has them."""

from __future__ import annotations

import base64
import importlib.util
from pathlib import Path

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.errors import Forbidden
from backchannel.jetstream.nkey import ACCOUNT, Nkey, decoded, read_signed

ROOT = Path(__file__).resolve().parents[2]
secrets = st.binary(min_size=32, max_size=32)


def theirs(secret: bytes) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(secret, prefix=nkeys.PREFIX_BYTE_ACCOUNT))


@given(secrets)
def test_public_keys_are_those_of_the_nkeys_package(secret: bytes) -> None:
    assert Nkey(secret).public == theirs(secret).public_key.decode()


@given(secrets, st.text(max_size=40))
def test_the_nkeys_package_believes_what_we_sign(secret: bytes, name: str) -> None:
    said, _, signature = Nkey(secret).signed({"name": name}).rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    assert theirs(secret).verify(said.encode(), raw)


@given(secrets, st.text(max_size=40))
def test_what_is_signed_is_read_and_nothing_that_was_changed(secret: bytes, name: str) -> None:
    signed = Nkey(secret).signed({"name": name})
    assert read_signed(signed, ACCOUNT)["name"] == name
    header, content, signature = signed.split(".")
    other = Nkey(secret).signed({"name": name + "x"}).split(".")[1]
    for false in (f"{header}.{other}.{signature}", f"{header}.{content}.", "a.b.c", "", signed[:-4]):
        with pytest.raises(Forbidden):
            read_signed(false, ACCOUNT)


@given(st.text(max_size=80))
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(Forbidden):
        decoded(ACCOUNT, text)


def test_the_script_of_a_deployment_makes_the_public_half_with_nothing_but_python() -> None:
    spec = importlib.util.spec_from_file_location("new_secrets", ROOT / "deploy" / "new_secrets.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for secret in (bytes(32), bytes(range(32)), b"\xff" * 32):
        assert script.issuer(secret) == Nkey(secret).public
