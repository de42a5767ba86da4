"""What receipts measured orders the variants of later rollouts for each class of hardware, and stays as dealt."""

from __future__ import annotations

from dataclasses import replace

from pinnace_contract import ids
from pinnace_contract.ids import VersionName
from pinnace_contract.latest import LatencySummary, Outcome, Precision, Tolerance, Variant
from pinnace_contract.topics import Up
from pinnace_converters import chunks
from pinnace_server.domain.records import Version
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.variants import ProfileSource
from pinnace_server.service.whys import Whys
from tests.server.world import MODEL, MadeDraft, Server, TestedDevice, draft_of

PRECISIONS = (Precision.FP32, Precision.INT8_STATIC)


def version(server: Server, name: str) -> Version:
    """Register a version that has an fp32 and an int8 variant, in this order."""
    server.catalogue.add_model(MODEL, "", "test")
    one = draft_of(name)
    weights = [f"{precision} of {name}".encode() * 9_000 for precision in PRECISIONS]
    (runtime,) = {each.runtime for each in one.variants}
    draft: MadeDraft = replace(
        one,
        variants=tuple(
            Variant(blob=chunks.cut(content), runtime=runtime, precision=precision, peak_memory_bytes=1)
            for content, precision in zip(weights, PRECISIONS, strict=True)
        ),
        golden=replace(
            one.golden, tolerances=tuple(Tolerance(runtime=runtime, precision=precision) for precision in PRECISIONS)
        ),
        contents={**one.contents, **{ids.digest_of(content): content for content in weights}},
    )
    files = {digest: server._file(content) for digest, content in draft.contents.items()}
    return server.catalogue.register(model=MODEL, version=VersionName(name), draft=draft, files=files, actor="test")


def commits(device: TestedDevice, of: Version, variant: int, p95_ms: float, samples: int = 100) -> None:
    """Say in a receipt how long a variant took."""
    latency = LatencySummary(samples=samples, p50_ms=p95_ms / 2, p95_ms=p95_ms, p99_ms=p95_ms * 2)
    digest = of.body.variants[variant].digest
    receipt = device.receipt(
        Outcome.COMMITTED, variant=digest, latency=latency, peak_memory_bytes=5, runtime="onnxruntime 1.20"
    )
    device.send(Up.RECEIPT, receipt)


def measured(server: Server, samples: int = 100) -> tuple[Version, list[TestedDevice]]:
    """Three devices that keep fp32 at 11 ms, and three that keep int8 at 4 ms."""
    first = version(server, "1")
    devices = [server.device(f"camera-{n}") for n in range(6)]
    server.assign(first)
    for n, device in enumerate(devices):
        commits(device, first, n % 2, (11.0, 4.0)[n % 2], samples)
    return first, devices


def test_receipts_are_kept_by_release_variant_hardware_and_runtime(server: Server) -> None:
    first, _ = measured(server)
    with server.store.read() as tables:
        rows = {each.variant: each for each in tables.profiles.of_release(first.release)}
    assert set(rows) == set(first.variants)
    fp32 = rows[first.variants[0]]
    assert (fp32.hardware, fp32.runtime, fp32.source) == ("test", "onnxruntime 1.20", ProfileSource.TRIAL_RECEIPTS)
    assert (fp32.p50_ms, fp32.p95_ms, fp32.peak_memory_bytes) == (5.5, 11.0, 5)
    assert (fp32.results, fp32.inferences) == (3, 300)


def test_receipt_that_comes_twice_counts_once_and_one_of_few_answers_not_at_all(server: Server) -> None:
    first = version(server, "1")
    device = server.device("camera")
    server.assign(first)
    latency = LatencySummary(samples=100, p50_ms=1, p95_ms=2, p99_ms=3)
    receipt = device.receipt(Outcome.COMMITTED, latency=latency)
    device.send(Up.RECEIPT, receipt)
    device.send(Up.RECEIPT, receipt)
    few = replace(latency, samples=5)
    device.send(Up.RECEIPT, device.receipt(Outcome.REVERTED, latency=few))
    with server.store.read() as tables:
        (row,) = tables.profiles.of_release(first.release)
    assert row.results == 1


def test_new_version_goes_by_the_builds_of_the_one_before_and_says_so(server: Server) -> None:
    _, devices = measured(server)
    second = version(server, "2")
    rollout = server.climb(second, waves=["rest"], holdback=None)
    members = server.members(rollout)
    assert {each.variants for each in members.values()} == {(second.variants[1], second.variants[0])}
    entry = devices[0].entry()
    assert entry is not None
    assert entry.variants[0] == second.variants[1]
    (answer,) = Whys(server.world).of_device(devices[0].id)
    assert answer.variant == "int8-static because 4 ms p95 on test, fp32 11 ms; from 3 receipts of version 1"


def test_preview_counts_what_begins_then_does(server: Server) -> None:
    measured(server)
    version(server, "2")
    for variant, wanted in (("fastest", {"int8-static": 6}), ("as_released", {"fp32": 6})):
        policy = reading.read({"cohort": "", "variant": variant})
        assert server.steering.preview(model=MODEL, version="2", policy=policy).variants() == wanted
    server.version("3")
    assert server.steering.preview(model=MODEL, version="3", policy=policy).variants() == {}, "there is one"


def test_too_few_receipts_leave_the_order_as_it_was(server: Server) -> None:
    measured(server, samples=5)
    second = version(server, "2")
    members = server.members(server.climb(second))
    assert {(each.variants, each.chosen) for each in members.values()} == {(second.variants, "")}


def test_choice_does_not_change_within_a_rollout(server: Server) -> None:
    first, devices = measured(server)
    second = version(server, "2")
    rollout = server.climb(second, waves=["50%", "rest"], holdback=None)
    before = server.members(rollout)
    for device in devices:
        if device.entry() is not None and device.receipt(Outcome.COMMITTED).release == second.release:
            commits(device, second, 1, 400.0)
    for _ in range(5):
        server.clock.move(600)
        server.controller.tick()
    after = server.members(rollout)
    assert {name: each.variants for name, each in after.items()} == {
        name: each.variants for name, each in before.items()
    }
    assert first.release != second.release
