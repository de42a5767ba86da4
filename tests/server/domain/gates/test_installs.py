"""When failed installs stop a wave, and when they do not."""

import random
import statistics

import pytest

from pinnace_contract.ids import DeviceId
from pinnace_server.domain.gates import installs
from pinnace_server.domain.gates.evidence import Install, InstallResult
from tests.server.domain.gates import fleets

MARGIN = 0.03
RUNS = 2_000


def stops_after(share_bad: float, chance: random.Random, devices: int = 250) -> int | None:
    failures = 0
    for device in range(1, devices + 1):
        failures += chance.random() < share_bad
        attempts = fleets.installs(failures, device)
        if installs.read(attempts, MARGIN).stopped:
            return device
    return None


def test_a_release_that_fails_on_fifteen_per_cent_stops_after_about_fifteen_devices() -> None:
    seed = 15
    chance = random.Random(seed)
    found = [stops_after(0.15, chance, devices=60) for _ in range(200)]
    stopped = [each for each in found if each is not None]
    assert len(stopped) > 195, seed
    assert statistics.median(stopped) <= 16, seed


def test_a_good_release_is_hardly_ever_stopped() -> None:
    seed, devices, failed = 1, 120, 0
    chance = random.Random(seed)
    for _ in range(RUNS):
        failures = 0
        for device in range(1, devices + 1):
            failures += chance.random() < 0.01
            if installs.worse(device, failures) >= 3.0:  # ln 20
                failed += 1
                break
    assert failed / RUNS <= 0.05, seed


@pytest.mark.parametrize(
    ("attempts", "stopped"),
    [
        pytest.param(fleets.installs(1, 30, InstallResult.LOAD_FAILED), False, id="one load failure"),
        pytest.param(fleets.installs(2, 40, InstallResult.CRASH_LOOP), True, id="two among the first forty"),
        pytest.param(fleets.installs(2, 140, InstallResult.LOAD_FAILED), False, id="two after the first forty"),
        pytest.param(fleets.installs(30, 30, InstallResult.DEVICE_TROUBLE), False, id="full disks"),
        pytest.param(fleets.installs(30, 30, InstallResult.UNREACHABLE), False, id="nobody there"),
        pytest.param((), False, id="nothing yet"),
    ],
)
def test_wave_stops(attempts: tuple[Install, ...], stopped: bool) -> None:
    assert installs.read(attempts, MARGIN).stopped is stopped


def test_one_device_that_fails_to_load_twice_is_one_device() -> None:
    again = fleets.installs(1, 1, InstallResult.LOAD_FAILED) * 2
    assert not installs.read((*again, *fleets.installs(0, 30)[1:]), MARGIN).stopped


def test_golden_mismatch_stops_its_hardware_and_no_other() -> None:
    wrong = Install(device=DeviceId("a"), hardware="armv7", result=InstallResult.GOLDEN_MISMATCH)
    found = installs.read((*fleets.installs(0, 100), wrong), MARGIN)
    assert found.stopped_hardware == ("armv7",)
    assert not found.stopped


def test_hundred_good_installs_prove_that_not_four_in_a_hundred_fail() -> None:
    assert installs.not_worse(110, 0, MARGIN) >= 3.0
    assert installs.not_worse(50, 0, MARGIN) < 3.0
