"""What `up` says of a certificate it cannot serve with, and what becomes of a good one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from backchannel.errors import BackchannelError
from backchannel.home import Home
from backchannel.tls import serving, trusting
from cli.certificate import Certificate, checked, kept
from cli.failure import Failure
from tests.promises.certificate import write_pair


def said(shown: Path, key: Path) -> str:
    with pytest.raises(BackchannelError) as refusal:
        checked(str(shown), str(key))
    return refusal.value.message


def test_without_either_there_is_no_tls() -> None:
    assert checked(None, None) is None
    assert checked("", "") is None
    assert trusting(None) is None


def test_each_fault_of_a_pair_has_its_own_words(tmp_path: Path) -> None:
    shown, key = write_pair(tmp_path / "one")
    stranger, _ = write_pair(tmp_path / "two")
    expired, its_key = write_pair(tmp_path / "three", days=-1)
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing\n")
    nothing.chmod(0o600)
    assert "is not the key of the certificate" in said(stranger, key)
    assert "expired on" in said(expired, its_key)
    assert "does not begin with a certificate" in said(nothing, key)
    assert "no PEM file" in said(shown, nothing)
    assert "cannot be read" in said(tmp_path / "nowhere", key)
    assert "cannot be read" in said(shown, tmp_path / "nowhere")


@pytest.mark.parametrize("given", [("cert.pem", None), (None, "key.pem")])
def test_one_without_the_other_is_refused(given: tuple[str | None, str | None]) -> None:
    with pytest.raises(Failure, match="a certificate and its key"):
        checked(*given)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    shown, key = write_pair(tmp_path)
    key.chmod(0o640)
    assert f"chmod 600 {key}" in said(shown, key)


def test_a_key_with_a_passphrase_is_refused_rather_than_asked_for(tmp_path: Path) -> None:
    shown, key = write_pair(tmp_path)
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"locked"),
        )
    )
    assert "is encrypted" in said(shown, key)


def test_copies_are_kept_for_as_long_as_there_is_tls(tmp_path: Path) -> None:
    given = checked(*map(str, write_pair(tmp_path / "given")))
    home = Home(tmp_path / "data")
    home.create()
    copies = kept(home, given)
    assert copies == Certificate(home.path / "certificate.pem", home.secrets / "tls.key")
    assert copies is not None
    assert stat.S_IMODE(copies.key.stat().st_mode) == 0o600
    serving(*copies.pair)
    assert kept(home, None) is None
    assert not copies.key.exists()
    assert not copies.shown.exists()
