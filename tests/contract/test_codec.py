"""Bytes and messages: golden files of every version are read for ever, and hostile bytes are typed errors."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import time
import zlib

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinnace_contract import codec
from pinnace_contract.desired import DESIRED_BYTES_MAX, Desired
from pinnace_contract.errors import BadField, ContractError, Malformed, TooLarge
from pinnace_contract.latest import (
    CHUNK_BYTES_MAX,
    Ack,
    AssignmentSet,
    Cause,
    Data,
    Presence,
    Receipt,
    Release,
    Report,
    Reported,
    Runtime,
    Statement,
    UnknownStatement,
    UnknownStep,
    Want,
    claim_token_text,
    parse_claim_token,
)
from tests.contract import examples, make_golden

JSON_KINDS = {type(message).KIND: type(message) for message in examples.JSON_EXAMPLES} | {
    "assignment-set-withdrawn": AssignmentSet
}
GOLDEN_FILES = sorted(path.name for path in make_golden.GOLDEN.iterdir())


def test_every_example_has_its_golden_file() -> None:
    assert sorted(make_golden.expected()) == GOLDEN_FILES


@pytest.mark.parametrize("message", examples.JSON_EXAMPLES, ids=lambda message: message.KIND)
def test_golden_json_is_read_and_written_the_same(message: codec.Message) -> None:
    golden = (make_golden.GOLDEN / f"{message.KIND}.json").read_bytes()
    assert codec.from_json(type(message), golden) == message
    assert codec.to_json(message) == golden


def test_golden_set_that_withdraws_is_read_and_written_the_same() -> None:
    golden = (make_golden.GOLDEN / "assignment-set-withdrawn.json").read_bytes()
    assert codec.from_json(AssignmentSet, golden) == examples.WITHDRAWING_SET
    assert codec.to_json(examples.WITHDRAWING_SET) == golden


def test_golden_report_is_read() -> None:
    golden = (make_golden.GOLDEN / "report.cbor").read_bytes()
    assert codec.from_cbor(Report, golden) == examples.REPORT
    # zlib's bytes may differ between builds; what is inside may not
    assert zlib.decompress(codec.to_cbor(examples.REPORT)) == zlib.decompress(golden)


def test_golden_frames_are_read_and_written_the_same() -> None:
    assert Data.from_bytes((make_golden.GOLDEN / "data.bin").read_bytes()) == make_golden.DATA
    assert Desired.from_bytes((make_golden.GOLDEN / "desired.bin").read_bytes()) == make_golden.DESIRED
    assert make_golden.expected()["data.bin"] == (make_golden.GOLDEN / "data.bin").read_bytes()
    assert make_golden.expected()["desired.bin"] == (make_golden.GOLDEN / "desired.bin").read_bytes()


def test_unknown_fields_are_ignored() -> None:
    tree = codec.plain(examples.ACK) | {"from_the_future": {"a": [1]}}
    assert codec.from_plain(Ack, tree) == examples.ACK


def test_unknown_enum_values_become_unknown() -> None:
    tree = codec.plain(examples.PRESENCE) | {"runtimes": ["onnx", "npu-9000"]}
    assert codec.from_plain(Presence, tree).runtimes == (Runtime.ONNX, Runtime.UNKNOWN)


def test_unknown_is_never_sent() -> None:
    with pytest.raises(BadField, match="Cause"):
        codec.to_json(dataclasses.replace(examples.REPORTED, cause=Cause.UNKNOWN))


def test_unknown_step_is_kept_as_unknown_so_that_a_runtime_can_refuse_it() -> None:
    tree = codec.plain(examples.RELEASE)
    tree["processing"]["before"] = [{"op": "sharpen", "radius": 3}]
    assert codec.from_plain(Release, tree).processing.before == (UnknownStep(op="sharpen"),)


def test_unknown_statement_is_kept_as_unknown() -> None:
    tree = codec.plain(examples.STATEMENT) | {"body": {"op": "grant_wish"}}
    assert codec.from_plain(Statement, tree).body == UnknownStatement(op="grant_wish")


def test_defaults_are_left_out_and_come_back() -> None:
    small = dataclasses.replace(examples.REPORTED, models=(), audit_head=None)
    assert "models" not in codec.plain(small)
    assert codec.from_json(Reported, codec.to_json(small)) == small


BAD_FIELDS = [
    ("device in upper case", Presence, {"device": "Camera"}, "presence.device"),
    ("device with a slash", Presence, {"device": "a/b"}, "presence.device"),
    ("device with a wildcard", Presence, {"device": "a+"}, "presence.device"),
    ("device missing", Presence, {"device": None}, "presence.device"),
    ("number as text", Presence, {"seq": "1"}, "presence.seq"),
    ("true as a number", Presence, {"seq": True}, "presence.seq"),
    ("negative count", Presence, {"seq": -1}, "presence.seq"),
    ("number past 2^53", Presence, {"seq": 2**53}, "presence.seq"),
    ("fraction as a whole number", Presence, {"seq": 1.5}, "presence.seq"),
    ("object as a list", Presence, {"active": {}}, "presence.active"),
    ("too many items", Presence, {"runtimes": ["onnx"] * 9}, "presence.runtimes"),
    ("text too long", Presence, {"agent_version": "x" * 33}, "presence.agent_version"),
    ("lone surrogate", Presence, {"agent_version": "\ud800"}, "presence.agent_version"),
    ("bitmap not base64", Want, {"missing": "***"}, "want.missing"),
    ("bitmap too long", Want, {"missing": "A" * 11_000}, "want.missing"),
    ("receipt id not a hash", Ack, {"receipts": ["x"]}, r"ack.receipts\[0\]"),
]


@pytest.mark.parametrize(
    ("kind", "change", "path"), [row[1:] for row in BAD_FIELDS], ids=[row[0] for row in BAD_FIELDS]
)
def test_bad_field_is_named(kind: type[codec.Message], change: dict[str, object], path: str) -> None:
    example = next(message for message in examples.JSON_EXAMPLES if type(message) is kind)
    with pytest.raises(BadField, match=path):
        codec.from_plain(kind, codec.plain(example) | change)


def test_what_we_send_is_held_to_the_same_limits() -> None:
    with pytest.raises(BadField):
        codec.to_json(dataclasses.replace(examples.PRESENCE, agent_version="x" * 100))
    with pytest.raises(BadField):
        codec.to_json(dataclasses.replace(examples.PRESENCE, device="Not A Device"))


HOSTILE_JSON = [
    ("empty", b""),
    ("not text", b"\xff\xfe"),
    ("cut off", codec.to_json(examples.ACK)[:-5]),
    ("a number", b"17"),
    ("nested", b"[" * 5_000),
    ("duplicate keys", b'{"device":"a","device":"b"}'),
    ("NaN", b'{"at_s":NaN}'),
    ("a number of 10,000 digits", b'{"at_s":' + b"9" * 10_000 + b"}"),
]


@pytest.mark.parametrize("data", [row[1] for row in HOSTILE_JSON], ids=[row[0] for row in HOSTILE_JSON])
def test_hostile_json_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(ContractError):
        codec.from_json(Ack, data)


def test_size_is_bounded_before_parsing() -> None:
    with pytest.raises(TooLarge, match=str(Ack.BYTES_MAX)):
        codec.from_json(Ack, b" " * (Ack.BYTES_MAX + 1))


def test_a_zip_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(b"\0" * (32 * 1024 * 1024), 9)
    assert len(bomb) < Report.BYTES_MAX
    with pytest.raises(TooLarge):
        codec.from_cbor(Report, bomb)


def test_what_follows_a_zlib_stream_is_refused() -> None:
    with pytest.raises(Malformed, match="behind"):
        codec.from_cbor(Report, codec.to_cbor(examples.REPORT) + b"x")


HOSTILE_CBOR = [
    ("empty", b""),
    ("cut off", cbor2.dumps({1: "a"})[:-1]),
    ("deeply nested", b"\x81" * 100_000),
    ("an array that claims 2^60 items", b"\x9b\x10" + b"\0" * 7),
    ("bytes that claim 2^60", b"\x5b\x10" + b"\0" * 7),
    ("a regular expression tag", cbor2.dumps(cbor2.CBORTag(35, "("))),
    ("a date tag", cbor2.dumps(cbor2.CBORTag(0, "yesterday"))),
    ("a fraction tag", cbor2.dumps(cbor2.CBORTag(30, [1, 0]))),
    ("a cycle", b"\xd8\x1c\x81\xd8\x1d\x00"),
    ("unhashable key", b"\xa1\x80\x01"),
]


@pytest.mark.parametrize("data", [row[1] for row in HOSTILE_CBOR], ids=[row[0] for row in HOSTILE_CBOR])
def test_hostile_cbor_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(ContractError):
        codec.from_cbor(Report, zlib.compress(data))


@pytest.mark.parametrize("data", [b"", b"PNCk", b"PNCk" + b"\0" * 60, b"x" * (CHUNK_BYTES_MAX + 100)])
def test_hostile_chunk_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(ContractError):
        Data.from_bytes(data)


@pytest.mark.parametrize(
    "data", [b"", b"PNd1", b"PNd1" + b"\xff" * 12, b"XXXX" + b"\0" * 12, b"P" * (DESIRED_BYTES_MAX + 1)]
)
def test_hostile_desired_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(ContractError):
        Desired.from_bytes(data)


def test_claim_token_survives_being_copied() -> None:
    text = claim_token_text(examples.CLAIM_TOKEN)
    assert parse_claim_token(f"  {text}\n") == examples.CLAIM_TOKEN
    with pytest.raises(ContractError):
        parse_claim_token(text[:-7])
    with pytest.raises(ContractError, match="begin with"):
        parse_claim_token("hunter2")


def test_receipt_id_is_the_event_not_the_wording() -> None:
    again = dataclasses.replace(examples.RECEIPT, counter=10, detail="other words", at_s=0.0)
    other = dataclasses.replace(examples.RECEIPT, attempt=3)
    assert again.id == examples.RECEIPT.id != other.id


@given(data=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_message_or_a_typed_error(data: bytes) -> None:
    for read in (
        *(lambda data, kind=kind: codec.from_json(kind, data) for kind in JSON_KINDS.values()),
        lambda data: codec.from_cbor(Report, data),
        lambda data: codec.from_cbor(Report, zlib.compress(data)),
        Data.from_bytes,
        Desired.from_bytes,
    ):
        with contextlib.suppress(ContractError):
            read(data)


_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.binary(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(0, 12), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_message_with_any_field_replaced_is_a_message_or_a_typed_error(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from(examples.JSON_EXAMPLES))
    tree = codec.plain(message)
    tree[data.draw(st.sampled_from(sorted(tree)))] = data.draw(_TREES)
    with contextlib.suppress(ContractError):
        codec.from_plain(type(message), tree)


@given(tree=st.dictionaries(st.integers(0, 12), _TREES, max_size=11))
@settings(max_examples=100, deadline=None)
def test_any_cbor_tree_is_a_report_or_a_typed_error(tree: dict[int, object]) -> None:
    with contextlib.suppress(ContractError):
        codec.from_cbor(Report, zlib.compress(cbor2.dumps(tree)))


@pytest.mark.soak
def test_fuzz_mutated_golden_files_for_minutes() -> None:
    """Mutate golden bytes at random; the seed is printed, so a failure can be run again."""
    seed = int(os.environ.get("PINNACE_FUZZ_SEED", str(time.time_ns() % 2**32)))
    print(f"PINNACE_FUZZ_SEED={seed}")
    _mutate(random.Random(seed), rounds=300_000)


def test_mutated_golden_files_are_messages_or_typed_errors() -> None:
    _mutate(random.Random(20261123), rounds=1_500)


def _mutate(chance: random.Random, rounds: int) -> None:
    corpus = [
        (JSON_KINDS[name[:-5]], (make_golden.GOLDEN / name).read_bytes())
        for name in GOLDEN_FILES
        if name.endswith("json")
    ]
    report = zlib.decompress((make_golden.GOLDEN / "report.cbor").read_bytes())
    refused = 0
    for _ in range(rounds):
        kind, golden = chance.choice(corpus)
        try:
            codec.from_json(kind, _mutated(chance, golden))
        except ContractError:
            refused += 1
        try:
            codec.from_cbor(Report, zlib.compress(_mutated(chance, report), 1))
        except ContractError:
            refused += 1
    assert refused > rounds / 2, "the mutations must be strong enough to reach the errors"


def _mutated(chance: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out)) if out else 0
        match chance.randrange(4):
            case 0 if out:
                out[at] = chance.randrange(256)
            case 1:
                out[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 3)))
            case 2:
                del out[at : at + chance.randint(1, 20)]
            case _:
                end = min(len(out), at + chance.randint(1, 30))
                out[at:at] = out[at:end]
    return bytes(out)


def test_a_receipt_log_has_its_limit() -> None:
    with pytest.raises(BadField, match="log"):
        codec.from_plain(Receipt, codec.plain(examples.RECEIPT) | {"log": "x" * (16 * 1024 + 1)})
