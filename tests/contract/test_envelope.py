"""The signed envelope: nothing inside is read before the signature over the bytes received is good."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinnace_contract import envelope
from pinnace_contract.errors import BadEnvelope, ContractError, TooLarge
from pinnace_contract.ids import KeyId, digest_of
from pinnace_contract.latest import Ack, Command, Report
from tests.contract import examples

KEY = KeyId(digest_of(b"key"))


class WrongSignature(Exception):
    """What this test's caller raises."""


def _sign(data: bytes) -> bytes:
    return bytes.fromhex(digest_of(b"secret" + data))


def _verify(keyid: KeyId, data: bytes, signature: bytes) -> None:
    if keyid != KEY or signature != _sign(data):
        raise WrongSignature


@pytest.mark.parametrize("message", [examples.ACK, examples.RECEIPT, examples.REPORT], ids=lambda message: message.KIND)
def test_sealed_message_comes_back(message: Ack) -> None:
    assert envelope.unseal(type(message), envelope.seal(message, KEY, _sign), _verify) == message


def test_pae_is_that_of_the_specification() -> None:
    # the example of DSSE's protocol.md
    assert (
        envelope.pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_changed_payload_is_a_wrong_signature_and_is_not_parsed() -> None:
    tree = json.loads(envelope.seal(examples.ACK, KEY, _sign))
    tree["payload"] = "bm90IGpzb24="
    with pytest.raises(WrongSignature):
        envelope.unseal(Ack, json.dumps(tree).encode(), _verify)


def test_an_envelope_of_another_kind_is_refused() -> None:
    with pytest.raises(BadEnvelope, match="command"):
        envelope.unseal(Command, envelope.seal(examples.ACK, KEY, _sign), _verify)


def test_two_signatures_are_refused() -> None:
    tree = json.loads(envelope.seal(examples.ACK, KEY, _sign))
    tree["signatures"] *= 2
    with pytest.raises(BadEnvelope, match="one signature"):
        envelope.unseal(Ack, json.dumps(tree).encode(), _verify)


def test_size_is_bounded_before_parsing() -> None:
    with pytest.raises(TooLarge):
        envelope.unseal(Ack, b" " * (envelope.size_bytes_max(Ack) + 1), _verify)


@given(data=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_typed_error(data: bytes) -> None:
    for kind in (Ack, Report):
        with pytest.raises((ContractError, WrongSignature)):
            envelope.unseal(kind, data, _verify)
