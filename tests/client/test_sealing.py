"""What is sealed opens for its readers, where it was put, and for nobody else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.client.sealing import CannotOpen, Place, SealingKey, readers_among
from backchannel.errors import BadMessage, Conflict, Forbidden
from backchannel.home import FolderError
from backchannel.protocol.sealed import Envelope, envelope_in

HERE = Place("main", "secrets", "ada", "5b8ee8a2-2bd9-4a54-9c0c-0d8a6a3f3d2e")
ADA, BOB, EVE = SealingKey.fresh(), SealingKey.fresh(), SealingKey.fresh()
READERS = {"ada": ADA.public, "bob": BOB.public}


def sealed(text: str = "The key lies under the mat.") -> Envelope:
    return ADA.seal(text, HERE, READERS)


@given(st.text(max_size=2000))
def test_every_reader_opens_what_was_sealed_also_its_sender(text: str) -> None:
    envelope = envelope_in(sealed(text).written())
    assert BOB.open(envelope, HERE, "bob") == text
    assert ADA.open(envelope, HERE, "ada") == text


def test_nobody_else_opens_it_under_any_name() -> None:
    for name in ("eve", "bob"):
        with pytest.raises(CannotOpen):
            EVE.open(sealed(), HERE, name)


@pytest.mark.parametrize("field", ["group", "context_id", "sender", "message_id"])
def test_it_opens_nowhere_else_and_in_nobody_elses_name(field: str) -> None:
    with pytest.raises(CannotOpen):
        BOB.open(sealed(), replace(HERE, **{field: "other"}), "bob")


@given(st.data())
def test_one_changed_bit_anywhere_is_noticed(data: st.DataObject) -> None:
    whole = sealed().model_dump()
    where = data.draw(st.sampled_from(["sender_key", "ephemeral", "nonce", "ciphertext", "wrapped"]))
    envelope = sealed()
    slot = envelope.readers["bob"]
    target = slot.wrapped if where == "wrapped" else getattr(envelope, where)
    place, bit = data.draw(st.integers(0, len(target) - 1)), data.draw(st.integers(0, 7))
    if where in ("sender_key", "ephemeral") and (place, bit) == (31, 7):
        return  # X25519 ignores the highest bit (RFC 7748, 5); it is bound into the derivation all the same
    changed = bytearray(target)
    changed[place] ^= 1 << bit
    if where == "wrapped":
        slots = {**envelope.readers, "bob": slot.model_copy(update={"wrapped": bytes(changed)})}
        forged = envelope.model_copy(update={"readers": slots})
    else:
        forged = envelope.model_copy(update={where: bytes(changed)})
    assert whole["sealed"] == "v1"
    with pytest.raises((CannotOpen, Forbidden)):
        BOB.open(forged, HERE, "bob")


def test_a_reader_cannot_put_other_words_into_the_senders_mouth() -> None:
    """Bob knows the content key, and seals other words under it with everything else left as it was."""
    envelope, theirs = sealed(), BOB.seal("Pay Bob.", HERE, READERS)
    mixed = envelope.model_copy(update={"ciphertext": theirs.ciphertext, "nonce": theirs.nonce})
    with pytest.raises(CannotOpen):
        ADA.open(mixed, HERE, "ada")
    # Sealed by Bob in Ada's name: whoever knows Ada's key sees that it is not hers.
    carol = SealingKey.fresh()
    forged = BOB.seal("Pay Bob.", HERE, {**READERS, "carol": carol.public})
    carol.believe("ada", ADA.public)
    with pytest.raises(Forbidden):
        carol.open(forged, HERE, "carol")


def test_leaving_out_a_reader_is_noticed_by_the_others() -> None:
    envelope = sealed()
    fewer = envelope.model_copy(update={"readers": {"bob": envelope.readers["bob"]}})
    with pytest.raises(CannotOpen):
        BOB.open(fewer, HERE, "bob")


def test_a_changed_key_is_not_believed_until_it_is_forgotten() -> None:
    key = SealingKey.fresh()
    key.believe("bob", BOB.public)
    with pytest.raises(Forbidden, match="another than before"):
        key.believe("bob", EVE.public)
    key.forget("bob")
    key.believe("bob", EVE.public)


def test_nothing_is_sealed_while_somebody_has_no_key() -> None:
    with pytest.raises(Conflict, match="carol"):
        readers_among(("ada", "carol"), {"ada": ADA.public})


def test_a_kept_key_is_the_same_next_time_and_closed_to_others(tmp_path: Path) -> None:
    first = SealingKey.kept_in(tmp_path / "ada.key")
    first.believe("bob", BOB.public)
    again = SealingKey.kept_in(tmp_path / "ada.key")
    assert again.public == first.public
    with pytest.raises(Forbidden):
        again.believe("bob", EVE.public)
    os.chmod(tmp_path / "ada.key", 0o644)
    with pytest.raises(FolderError, match="open to others"):
        SealingKey.kept_in(tmp_path / "ada.key")


@pytest.mark.parametrize("content", ["", "{}", "hello", '{"sealed":"v1"}', "[1]", {"sealed": "v2"}, None])
def test_what_is_no_envelope_is_told_so(content: object) -> None:
    with pytest.raises(BadMessage, match="no such envelope"):
        envelope_in(content)
