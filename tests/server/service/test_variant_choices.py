"""Why a device tries a variant first, for whoever asks: by which rule, what was known then, and what is known today."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Precision, Variant
from pinnace_converters import chunks
from pinnace_server.cli.fleet import measured_words
from pinnace_server.domain.variants import AsReleased, Fastest, MostAccurate, Smallest, VariantRule, explained, in_words
from pinnace_server.service.fleet import Fleet
from pinnace_server.service.variant_choices import VariantChoice
from pinnace_server.service.whys import Whys
from tests.server.service.test_variant_profiles import commits, measured, version
from tests.server.world import Server


def choice(server: Server, device: DeviceId) -> VariantChoice:
    (found,) = Fleet(server.world).device(device).variants
    return found


def test_device_says_which_variant_it_was_dealt_by_which_rule_and_what_was_known(server: Server) -> None:
    _, devices = measured(server)
    second = version(server, "2")
    rollout = server.climb(second, waves=["rest"], holdback=None)
    found = choice(server, devices[0].id)
    assert (found.version, found.rollout, found.rule) == ("2", rollout.id, "the fastest")
    assert found.order == ("int8-static", "fp32")
    assert found.why == "int8-static because 4 ms p95 on test, fp32 11 ms; from 3 receipts of version 1"
    assert [measured_words(asdict(each)) for each in found.measured] == [
        "fp32 not measured",
        "int8-static not measured",
    ]


def test_what_was_measured_since_is_told_beside_what_was_known_then(server: Server) -> None:
    _, devices = measured(server)
    second = version(server, "2")
    server.climb(second, waves=["rest"], holdback=None)
    for device in devices[:2]:
        commits(device, second, 1, 400.0)
    found = choice(server, devices[5].id)
    assert "4 ms p95" in found.why
    said = [measured_words(asdict(each)) for each in found.measured]
    assert said == ["fp32 not measured", "int8-static 400 ms p95 (2 receipts, too few to choose by)"]


def test_device_that_too_little_was_known_of_says_so_and_why_says_the_same(server: Server) -> None:
    _, devices = measured(server, samples=5)
    server.climb(version(server, "2"), waves=["rest"], holdback=None)
    found = choice(server, devices[0].id)
    assert found.order == ("fp32", "int8-static")
    assert "too little was known of test to choose by" in found.why
    (answer,) = Whys(server.world).of_device(devices[0].id)
    assert answer.variant == found.why


def test_plain_assignment_takes_the_releases_order_and_one_variant_is_no_choice(server: Server) -> None:
    first, devices = measured(server)
    found = choice(server, devices[0].id)
    assert (found.version, found.rule) == (first.version, "")
    assert found.why == "fp32 because the release lists it first, and a plain assignment takes that order"
    server.assign(server.version("2"))
    assert Fleet(server.world).device(devices[0].id).variants == ()
    (answer,) = Whys(server.world).of_device(devices[0].id)
    assert answer.variant == ""


def test_device_that_goes_back_has_no_choice(server: Server) -> None:
    _, devices = measured(server)
    second = version(server, "2")
    rollout = server.assign(second)
    commits(devices[0], second, 0, 5.0)
    server.rollouts.roll_back(rollout.id, reason="it is wrong", actor="admin")
    assert Fleet(server.world).device(devices[0].id).variants == ()


FP32, INT8 = (
    Variant(blob=chunks.cut(content), runtime="onnx", precision=precision, peak_memory_bytes=1)  # type: ignore[arg-type]
    for content, precision in ((b"weights", Precision.FP32), (b"w", Precision.INT8_STATIC))
)


@pytest.mark.parametrize(
    ("rule", "words", "because"),
    [
        (AsReleased(), "what the release lists first", "the policy takes that order"),
        (Fastest(), "the fastest", "too little was known of pi-5 to choose by (a variant counts from 3 receipts on)"),
        (Smallest(), "the smallest", "no other that fits into memory is smaller"),
        (MostAccurate(p95_ms=20), "the most accurate within 20 ms", "too little was known of pi-5"),
    ],
)
def test_each_rule_has_words_for_a_choice_that_it_did_not_make(rule: VariantRule, words: str, because: str) -> None:
    assert in_words(rule) == words
    said = explained(rule, [FP32, INT8], [FP32, INT8], "", "pi-5")
    assert said.startswith("fp32 because the release lists it first")
    assert because in said
    assert explained(rule, [INT8], [FP32, INT8], "", "pi-5").endswith("the only one that the device may run")
    assert explained(rule, [FP32, INT8], [FP32, INT8], "int8 because", "pi-5") == "int8 because"
