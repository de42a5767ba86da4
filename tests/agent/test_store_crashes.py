"""A power cut, or a kill, at every instruction of a whole life: install, update, revert, commit, collect.

Both controls must fail: without the file fsync, and without the directory fsync, the same exploration finds bad
states. A kill alone could never tell.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import pytest

from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.slot import Slot
from pinnace_agent.store_port import StateLost
from pinnace_contract.latest import Intent, Outcome
from pinnace_sim.disk import Disk
from tests.agent.core.scene import MODEL
from tests.agent.store_shell import Server, Shell

BAD = frozenset({"v3", "v4"})  # v4 misses its golden vectors, v3 crashes in its trial
LIFE = (
    ("v1", Intent.UPGRADE),
    ("v2", Intent.UPGRADE),
    ("v3", Intent.UPGRADE),
    ("v4", Intent.UPGRADE),
    ("v1", Intent.ROLLBACK),
)
ENDS = ["v1", "v2", "v2", "v2", "v1"]  # what serves at the end of each stage
OUTCOMES = [Outcome.COMMITTED, Outcome.COMMITTED, Outcome.REVERTED, Outcome.FAILED, Outcome.COMMITTED]


@lru_cache
def server_at(stage: int) -> Server:
    """The server that wants the release of this stage of the life."""
    server = Server()
    for number in range(1, 5):
        server.register(number)
    version, intent = LIFE[stage]
    server.assign(version, generation=stage + 1, intent=intent)
    return server


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The disk at the moment of a cut, and the last state whose save had returned."""

    operation: int
    disk: Disk
    saved: DeviceState | None


def cuts(stage: int, **faults: bool) -> list[Cut]:
    """Return the disk before every operation of one stage, after a life up to it without any crash."""
    disk = Disk(**faults)
    for before in range(stage):
        Shell(disk, server_at(before), boot=before + 1, bad=BAD).run()
    found: list[Cut] = []
    saves: list[DeviceState] = []

    def note(_operation: str, _path: str) -> None:
        found.append(Cut(operation=len(found), disk=disk.snapshot(), saved=saves[-1] if saves else None))

    disk.before_each = note
    Shell(disk, server_at(stage), boot=100, bad=BAD, saves=saves).run()
    return found


def problem_of(disk: Disk, stage: int, saved: DeviceState | None, boot: int = 200) -> str | None:
    """Return what is bad about a disk after a crash, or None: it must recover, be true, and finish its life."""
    try:
        shell = Shell(disk, server_at(stage), boot=boot, bad=BAD)
        wrong = untruth(shell, stage, saved)
        shell.run()
    except (StateLost, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    return wrong or end_problem(shell, stage)


def untruth(shell: Shell, stage: int, saved: DeviceState | None) -> str | None:
    """Return what a device that has just recovered gets wrong about its past."""
    slot, before = shell.state.slot(MODEL), saved.slot(MODEL) if saved else None
    if saved is not None and (shell.state.generation, shell.state.receipts) < (saved.generation, saved.receipts):
        return "an older state came back"
    if before is not None and (slot is None or slot.floor < before.floor):
        return "the floor sank"
    if stage > 0 and shell.served is None:
        return "a device that had a model serves none"
    return None


def end_problem(shell: Shell, stage: int) -> str | None:
    slot = shell.state.slot(MODEL)
    assert slot is not None
    if shell.served != ENDS[stage]:
        return f"ends with {shell.served}, not {ENDS[stage]}"
    outcomes = ended(slot)
    if outcomes is not OUTCOMES[stage]:
        return f"ends {outcomes}, not {OUTCOMES[stage]}"
    counters = [each.counter for each in shell.state.outbox]
    if counters != list(range(1, stage + 2)):
        return f"receipts {counters}"
    return None


def ended(slot: Slot) -> Outcome | None:
    return slot.ended.outcome if slot.ended else None


def explored(stage: int, states_max: int, **faults: bool) -> tuple[int, Counter[str], int]:
    """Return how many crash states of one stage were tried, what was bad in them, and how often the fault happened."""
    bad, skipped, seen = Counter[str](), 0, set[object]()
    for cut in cuts(stage, **faults):
        skipped += cut.disk.skipped_syncs
        for disk in cut.disk.crashes(states_max):
            state = (disk.fingerprint(), id(cut.saved))
            if state not in seen:
                seen.add(state)
                problem = problem_of(disk, stage, cut.saved)
                if problem:
                    bad[problem.split(",")[0]] += 1
    return len(seen), bad, skipped


STAGES = range(len(LIFE))
FEW, MANY = 7, 100  # states tried for each power cut; MANY takes minutes


def test_life_without_a_crash_ends_as_it_should() -> None:
    disk = Disk()
    for stage in STAGES:
        shell = Shell(disk, server_at(stage), boot=stage, bad=BAD)
        shell.run()
        assert end_problem(shell, stage) is None


@pytest.mark.parametrize("stage", STAGES)
def test_kill_at_every_operation_with_a_second_kill_during_recovery(stage: int) -> None:
    kills = 0
    seen = set[object]()
    for cut in cuts(stage):
        assert problem_of(cut.disk.killed(), stage, cut.saved) is None, cut.operation
        for second, disk in enumerate(recoveries(cut, stage)):
            kills += 1
            if disk.fingerprint() not in seen:
                seen.add(disk.fingerprint())
                assert problem_of(disk, stage, cut.saved) is None, (cut.operation, second)
    assert kills > 500


def recoveries(cut: Cut, stage: int) -> list[Disk]:
    """Return the disk before every operation of the recovery from a kill."""
    found: list[Disk] = []
    disk = cut.disk.killed()
    disk.before_each = lambda *_: found.append(disk.killed())
    Shell(disk, server_at(stage), boot=150, bad=BAD)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_power_cut_at_every_operation_leaves_a_working_model_and_a_true_state(stage: int) -> None:
    states, bad, _ = explored(stage, FEW)
    assert bad == Counter()
    assert states > 100


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("stage", STAGES)
def test_hardly_any_state_that_a_power_cut_may_leave_is_untried_and_all_are_good(stage: int) -> None:
    states, bad, _ = explored(stage, MANY)
    assert bad == Counter()
    assert states > 1_000


@pytest.mark.parametrize("fault", ["syncs", "syncs_dirs"])
def test_without_an_fsync_bad_states_are_found(fault: str) -> None:
    states, bad, skipped = explored(1, FEW, **{fault: False})
    assert skipped > 0, "the fault did not happen"
    assert bad.total() > 0, f"{states} states without {fault}, and none is bad: the exploration sees nothing"
