"""Two workers of one model, one serving and one in its shadow: compared, counted, and never in anybody's way."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from pinnace_agent.client import Client
from pinnace_agent.worker import events
from pinnace_agent.worker.events import ExitCause, WorkerRef
from pinnace_contract.histogram import Histogram
from pinnace_contract.latest import Arm, Block, Datatype, IoContract, Processing, ShadowCounts, Softmax, TensorSpec
from pinnace_contract.merging import merge_blocks
from tests.agent.worker.building import (
    CONTRACT,
    MODEL,
    NO_STEPS,
    WEIGHTS,
    Hosted,
    OnDisk,
    copies,
    endless,
    expected,
    fails_on_full,
    linear,
    put_release,
    rows,
)

FULL = np.full((1, 4), 255, np.float32)
MANY_ROWS = 64 * 1024  # a megabyte of raw input


def shadowed(host: Hosted, control: OnDisk, candidate: OnDisk, share_percent: int = 100) -> tuple[WorkerRef, WorkerRef]:
    """Let one serve and the other one be shown what is asked."""
    serves, shown = host.serving(control), host.loaded(candidate)
    host.host.shadow(serves, shown, share_percent)
    in_place(host, shown, serves)
    return serves, shown


def in_place(host: Hosted, *workers: WorkerRef) -> None:
    """Return when these workers have obeyed what they were told so far."""
    for worker in workers:
        host.host.collect(worker)
        host.wait_for(events.Collected, worker)


def counted(host: Hosted, worker: WorkerRef, enough: Callable[[Block], bool]) -> Block:
    """Collect until there is enough."""
    total: Block | None = None
    while total is None or not enough(total):
        host.host.collect(worker)
        block = host.wait_for(events.Collected, worker).block
        total = block if total is None else merge_blocks(total, block)
    return total


def ask(host: Hosted, n: int, n_rows: int = 1) -> list[float]:
    """Ask so many times; return how long each took."""
    took = []
    with Client(host.run_dir) as client:
        for i in range(n):
            asked = rows(n_rows, seed=i)
            began = time.perf_counter()
            client.infer(MODEL, {"x": asked})
            took.append(time.perf_counter() - began)
    return took


def pid_of(host: Hosted, worker: WorkerRef) -> int:
    return next(each.pid for each in host.host.status() if each.worker == worker)


def pairs_of(block: Block) -> ShadowCounts:
    assert block.shadow is not None
    return block.shadow


def permuted(tmp_path: Path) -> OnDisk:
    """Every class in another's place, and golden vectors of its own that it passes."""
    turned = np.roll(np.arange(3), 1)
    return put_release(
        tmp_path / "permuted",
        linear(WEIGHTS[:, turned].copy()),
        version="2",
        vectors=(rows(8), expected(rows(8))[:, turned].copy()),
    )


def test_a_release_that_answers_the_same_agrees_in_every_pair(host: Hosted, release: OnDisk, tmp_path: Path) -> None:
    again = put_release(tmp_path / "again", linear(WEIGHTS * 2), version="2", tolerance=1.0)
    control, candidate = shadowed(host, release, again)
    ask(host, 20, n_rows=3)
    block = counted(host, candidate, lambda block: pairs_of(block).pairs >= 60)
    assert (block.release, block.arm, block.n, block.errors) == (again.id, Arm.SHADOW, 20, ())
    assert pairs_of(block) == ShadowCounts(pairs=60, disagreements=0, dropped=0)
    assert Histogram.from_wire(block.latency).n == 20
    assert block.features is None or not any(block.features.sums)  # they are the serving one's to count
    serving = counted(host, control, lambda block: block.n >= 20)
    assert (serving.arm, serving.n, serving.shadow) == (Arm.SERVING, 20, None)


def test_labels_in_other_places_pass_their_own_golden_vectors_and_disagree_here(
    host: Hosted, release: OnDisk, tmp_path: Path
) -> None:
    wrong = permuted(tmp_path)
    _, candidate = shadowed(host, release, wrong)
    host.host.self_test(candidate)
    assert host.wait_for(events.SelfTested, candidate).result.passed
    ask(host, 20)
    block = counted(host, candidate, lambda block: pairs_of(block).pairs >= 20)
    assert pairs_of(block) == ShadowCounts(pairs=20, disagreements=20, dropped=0)


def test_only_the_share_that_was_asked_for_is_copied(host: Hosted, release: OnDisk, tmp_path: Path) -> None:
    _, candidate = shadowed(host, release, permuted(tmp_path), share_percent=25)
    ask(host, 200)
    block = counted(host, candidate, lambda block: block.n >= 40)
    assert 40 <= block.n <= 60


def test_what_fails_in_the_shadow_is_an_error_and_a_pair_that_differs(
    host: Hosted, release: OnDisk, tmp_path: Path
) -> None:
    _, candidate = shadowed(host, release, put_release(tmp_path / "fails", fails_on_full(), version="2"))
    with Client(host.run_dir) as client:
        client.infer(MODEL, {"x": FULL})
        client.infer(MODEL, {"x": rows(1)})
    block = counted(host, candidate, lambda block: pairs_of(block).pairs >= 2)
    assert [(each.name, each.n) for each in block.errors] == [("runtime", 1)]
    assert pairs_of(block) == ShadowCounts(pairs=2, disagreements=1, dropped=0)


def test_what_the_candidate_would_refuse_is_an_error_and_a_pair_that_differs(
    host: Hosted, release: OnDisk, tmp_path: Path
) -> None:
    other = IoContract(
        inputs=(TensorSpec(name="picture", datatype=Datatype.FP32, shape=(-1, 4)),), outputs=CONTRACT.outputs
    )
    refuses = put_release(
        tmp_path / "other",
        linear_named("picture"),
        version="2",
        contract=other,
        processing=Processing(after=(Softmax(tensor="y"),)),
        vectors=(rows(8), expected(rows(8) * 255)),
        baseline=None,
    )
    _, candidate = shadowed(host, release, refuses)
    ask(host, 5)
    block = counted(host, candidate, lambda block: pairs_of(block).pairs >= 5)
    assert [(each.name, each.n) for each in block.errors] == [("refused", 5)]
    assert (block.n, pairs_of(block).disagreements) == (0, 5)


def linear_named(name: str) -> bytes:
    """``linear`` with another name for its input."""
    model = onnx.load_from_string(linear())
    model.graph.input[0].name = model.graph.node[0].input[0] = name
    return bytes(model.SerializeToString())


def test_numbers_are_compared_by_the_tolerance_of_the_release(host: Hosted, tmp_path: Path) -> None:
    tensor = {"datatype": Datatype.FP32, "shape": (-1,)}
    contract = IoContract(inputs=(TensorSpec(name="x", **tensor),), outputs=(TensorSpec(name="y", **tensor),))
    given = np.zeros((4,), np.float32)
    common = {"contract": contract, "processing": NO_STEPS, "vectors": (given, given), "baseline": None}
    same = put_release(tmp_path / "one", copies(), **common)
    other = put_release(tmp_path / "two", copies(), version="2", **common)
    _, candidate = shadowed(host, same, other)
    with Client(host.run_dir) as client:
        client.infer(MODEL, {"x": given})
    block = counted(host, candidate, lambda block: pairs_of(block).pairs >= 1)
    assert pairs_of(block) == ShadowCounts(pairs=1, disagreements=0, dropped=0)


def test_shared_memory_is_copied_before_it_is_the_clients_again(host: Hosted, release: OnDisk, tmp_path: Path) -> None:
    again = put_release(tmp_path / "again", linear(WEIGHTS * 2), version="2", tolerance=1.0)
    _, candidate = shadowed(host, release, again)
    with Client(host.run_dir, shared_memory=True) as client:
        for i in range(30):
            client.infer(MODEL, {"x": rows(2, seed=i)})
    block = counted(host, candidate, lambda block: pairs_of(block).pairs >= 60)
    assert pairs_of(block).disagreements == 0


def test_inputs_that_a_client_prepared_itself_are_not_copied(host: Hosted, release: OnDisk, tmp_path: Path) -> None:
    _, candidate = shadowed(host, release, permuted(tmp_path))
    with Client(host.run_dir) as client:
        client.infer(MODEL, {"x": rows(1)}, preprocessed=True)
        client.infer(MODEL, {"x": rows(1)})
    block = counted(host, candidate, lambda block: pairs_of(block).pairs >= 1)
    assert block.n == 1


def test_what_a_candidate_that_sleeps_misses_is_dropped_and_counted(
    host_with: Callable[..., Hosted], release: OnDisk, tmp_path: Path
) -> None:
    host = host_with(hang_s=600.0)
    _, candidate = shadowed(host, release, permuted(tmp_path))
    os.kill(pid_of(host, candidate), signal.SIGSTOP)
    ask(host, 60, MANY_ROWS)
    os.kill(pid_of(host, candidate), signal.SIGCONT)
    ask(host, 1)  # its copy brings the count of those that were dropped before it
    block = counted(host, candidate, lambda block: block.n + pairs_of(block).dropped >= 61)
    assert pairs_of(block).dropped > 30
    assert block.n + pairs_of(block).dropped == 61


def test_a_candidate_that_sleeps_delays_no_answer(
    host_with: Callable[..., Hosted], release: OnDisk, tmp_path: Path
) -> None:
    host = host_with(hang_s=600.0)
    control, candidate = shadowed(host, release, permuted(tmp_path), share_percent=0)
    os.kill(pid_of(host, candidate), signal.SIGSTOP)
    took: dict[int, list[float]] = {0: [], 100: []}
    for _ in range(8):  # in turn, so that whatever else this machine does falls on both
        for share_percent, times in took.items():
            host.host.shadow(control, candidate, share_percent)
            in_place(host, control)
            times += ask(host, 25, MANY_ROWS)
    os.kill(pid_of(host, candidate), signal.SIGCONT)
    assert statistics.median(took[100]) < 1.25 * statistics.median(took[0])


@pytest.mark.slow
def test_a_candidate_that_hangs_on_a_copy_is_killed_and_nobody_else_notices(
    host_with: Callable[..., Hosted], release: OnDisk, tmp_path: Path
) -> None:
    host = host_with(hang_s=1.0, watch_every_s=0.1)
    control, candidate = shadowed(host, release, put_release(tmp_path / "endless", endless(), version="2"))
    with Client(host.run_dir) as client:
        client.infer(MODEL, {"x": FULL})
        ended = host.wait_for(events.WorkerExited, candidate)
        assert (ended.cause, ended.served) == (ExitCause.HUNG, False)
        client.infer(MODEL, {"x": FULL})
    assert counted(host, control, lambda block: block.n >= 2).errors == ()


def test_a_candidate_that_dies_leaves_the_serving_one_alone_and_the_next_is_shown_copies(
    host: Hosted, release: OnDisk, tmp_path: Path
) -> None:
    wrong = permuted(tmp_path)
    control, candidate = shadowed(host, release, wrong)
    ask(host, 3)
    os.kill(pid_of(host, candidate), signal.SIGKILL)
    assert host.wait_for(events.WorkerExited, candidate).cause is ExitCause.CRASHED
    ask(host, 5)
    again = host.loaded(wrong)
    host.host.shadow(control, again, 100)
    in_place(host, again, control)
    ask(host, 5)
    assert pairs_of(counted(host, again, lambda block: block.n >= 5)).disagreements == 5
    assert counted(host, control, lambda block: block.n >= 5).errors == ()


def test_a_serving_one_that_is_started_anew_copies_to_the_same_candidate(
    host: Hosted, release: OnDisk, tmp_path: Path
) -> None:
    control, candidate = shadowed(host, release, permuted(tmp_path))
    ask(host, 3)
    counted(host, candidate, lambda block: block.n >= 3)
    os.kill(pid_of(host, control), signal.SIGKILL)
    host.wait_for(events.WorkerExited, control)
    anew = host.serving(release)
    host.host.shadow(anew, candidate, 100)
    in_place(host, candidate, anew)
    ask(host, 4)
    assert counted(host, candidate, lambda block: block.n >= 4).n == 4


def test_a_candidate_that_takes_over_hands_over_its_pairs_and_counts_anew(
    host: Hosted, release: OnDisk, tmp_path: Path
) -> None:
    control, candidate = shadowed(host, release, permuted(tmp_path))
    ask(host, 5)
    counted(host, control, lambda block: block.n >= 5)
    seen = counted(host, candidate, lambda block: block.n >= 4)
    host.host.serve(candidate)
    host.wait_for(events.NowServing, candidate)
    host.wait_for(events.StoppedServing, control)  # until then both accept who connects
    shadow = [each.block for each in host.seen if isinstance(each, events.Collected) and each.block.arm is Arm.SHADOW]
    assert sum(block.n for block in shadow) == 5
    assert seen.n <= 5
    ask(host, 2)
    block = counted(host, candidate, lambda block: block.n >= 2)
    assert (block.arm, block.shadow) == (Arm.SERVING, None)
