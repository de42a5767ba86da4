"""Workers without processes: what they count of a version is its nature's doing, and the device's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pinnace_agent.adapters.worker_process import Start
from pinnace_agent.worker.events import Collected, WorkerEvent
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_sim.plan import Nature
from pinnace_sim.runtime import Workers
from pinnace_sim.schedule import Schedule
from pinnace_sim.temper import Temper

DIGEST = "a" * 64
HOUR_S = 3_600.0
ANSWERS_AN_HOUR = 100_000.0


def failed_share(nature: Nature, amount: float, temper: Temper) -> float:
    """Return the share of answers that fail in an hour of a version of this nature on such a device."""
    heard: list[WorkerEvent] = []
    schedule = Schedule()
    workers = Workers(
        timer=schedule,
        emit=heard.append,
        chance=random.Random(1),
        nature_of=lambda _release: nature,
        amount_of=lambda _release: amount,
        problem=lambda _order: "",
        started=lambda _order: None,
        inferences_an_hour=ANSWERS_AN_HOUR,
        temper=temper,
    )
    release = ReleaseId(DIGEST)
    start = Start(
        model=ModelName("digits"), release=release, release_path=Path("release"), variant=Digest(DIGEST), blobs={}
    )
    worker = workers.start(start)
    schedule.run_until(10.0)
    workers.serve(worker)
    schedule.run_until(10.0 + HOUR_S)
    workers.collect(worker)
    blocks = [each.block for each in heard if isinstance(each, Collected)]
    return sum(error.n for each in blocks for error in each.errors) / sum(each.n for each in blocks)


@pytest.mark.parametrize(
    ("nature", "amount", "here", "share"),
    [
        pytest.param(Nature.GOOD, 0.0, 0.05, 0.05, id="what fails on the device anyway"),
        pytest.param(Nature.ERRORS_3_PERCENT, 0.03, 0.0, 0.03, id="what fails of the version"),
        pytest.param(Nature.ERRORS_3_PERCENT, 0.03, 0.05, 1 - 0.97 * 0.95, id="three in a hundred where five fail"),
        pytest.param(Nature.ERRORS_3_PERCENT, 0.0, 0.05, 1 - 0.97 * 0.95, id="as much as is usual for the nature"),
        pytest.param(Nature.ERRORS_3_PERCENT, 1.0, 0.05, 1.0, id="all of it"),
        pytest.param(Nature.ERRORS_3_PERCENT, 0.03, 1.0, 1.0, id="all of it anyway"),
    ],
)
def test_answers_of_a_bad_version_fail_beside_those_that_fail_on_the_device_anyway(
    nature: Nature, amount: float, here: float, share: float
) -> None:
    assert failed_share(nature, amount, Temper(error_share=here)) == pytest.approx(share, abs=0.004)
