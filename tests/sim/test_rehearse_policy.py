"""A rehearsal of a policy says how long, how much, who is exposed and which guard fires, and worlds then do so."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rollout_worlds
from benchmarks.rollout_worlds import Setup
from pinnace_server.domain.queries import Page
from pinnace_server.http.schemas import export as bodies
from pinnace_server.service.export import Export
from pinnace_sim.cli import main
from pinnace_sim.climbs import End
from pinnace_sim.errors import CannotRehearse
from pinnace_sim.faults import NONE
from pinnace_sim.plan import Nature
from pinnace_sim.rehearsal import climbing, forecast, natures, policies, snapshot
from pinnace_sim.rehearsal.climb import ClimbTwin
from pinnace_sim.rehearsal.climbing import Chance, NatureForecast, PolicyForecast, PolicyRehearsal
from pinnace_sim.rehearsal.forecast import Rehearsal
from pinnace_sim.rehearsal.snapshot import Snapshot
from pinnace_sim.world import World
from tests.sim.test_rehearse import SHORT_TRIAL, device, fleet, runs, version

pytestmark = pytest.mark.slow

HOUR = 3_600.0
QUICK = {"soak_s": 1_200, "exposure": {"duration_s": 600, "devices": 2}, "hold_timeout_s": 3_600}
HALVES: dict[str, object] = {"cohort": "", "waves": ["50%", "rest"], "holdback": None, "gates": QUICK}
PROMISES_LITTLE = (version("2", 2, expects={"error_rate_max": 0.5, "p95": []}), version("1", 1))
"""So that trials on devices let a bad release pass, and gates must see it."""
FRIDAY_NOON = 1_795_780_800.0  # 2026-11-27 12:00 UTC


def cameras(n: int, **changes: object) -> list[dict[str, Any]]:
    return [
        device(
            f"camera-{number}-{number:06x}",
            labels={"site": ("kiel", "lyon")[number % 2]},
            hardware=("sim-a", "sim-b")[number % 2],
            models=[runs(answered_an_hour=600.0)[0] | {"error_share": 0.002}],
            p95_ms=9.0,
            **changes,
        )
        for number in range(n)
    ]


def asked(
    of: Snapshot, policy: dict[str, object], /, *supposed: str, seeds: int = 1, **changes: Any
) -> PolicyRehearsal:
    rehearsal = PolicyRehearsal(
        of=Rehearsal(
            snapshot=of,
            model=forecast.ModelName("digits"),
            target=forecast.found_target(of, "digits@2"),
            terms=SHORT_TRIAL,
            seeds=tuple(range(1, seeds + 1)),
            sample=100,
            hours=12.0,
            bytes_s=1_000_000.0,
        ),
        given=policies.given("the policy", policy),
        natures=tuple(map(natures.read, supposed or ("good",))),
        past_hours=1.0,
        begins_at_s=FRIDAY_NOON,
        person_delay_s=HOUR,
        report_every_s=600,
    )
    return replace(rehearsal, **changes)


def one(found: PolicyForecast) -> NatureForecast:
    (only,) = found.natures
    return only


# --- what it predicts -------------------------------------------------------------------------------------------------


def test_good_release_is_promoted_and_a_bad_one_moved_back_by_the_guard_that_sees_it(tmp_path: Path) -> None:
    of = fleet(tmp_path, *cameras(10), versions=PROMISES_LITTLE)
    found = climbing.rehearse(asked(of, HALVES, "good", "errors:20%", seeds=3))
    good, bad = found.natures
    assert (good.without_a_person.n, good.without_a_person.of) == (3, 3)
    assert bad.ends[End.MOVED_BACK].n == 3
    assert {each.guard: each.moves_back.n for each in bad.guards}["errors"] == 3
    assert [wave.promoted.n for wave in bad.waves] == [0, 0]
    assert [wave.promoted.n for wave in good.waves] == [3, 3]
    assert good.served.median == 10
    assert bad.served.most is not None
    assert bad.served.most <= 5, "the second wave never began"
    assert good.promoted_s.median is not None
    assert bad.stopped_s.most is not None
    assert 0 < bad.stopped_s.most < good.promoted_s.median < 4 * HOUR
    assert good.waves[1].begins_s.median == pytest.approx(good.waves[0].promoted_s.median, abs=60)


def test_applications_tell_what_a_policy_asks_for_and_a_forecast_says_that_no_nature_changes_it(tmp_path: Path) -> None:
    """Gates hold where nobody tells; and a forecast that is silent about it would be taken for those guards' word."""
    of = fleet(tmp_path, *cameras(2))
    guards = {"outcome": {"metric": "sold"}, "fairness": {"points": 2}, "predictions": 5}
    asking, usual = (
        climbing.rehearse(asked(of, HALVES | {"gates": QUICK | {"guards": each}})) for each in (guards, {})
    )
    assert [each.partition(";")[0] for each in asking.assumptions if "a good release" in each] == [
        "guards that see a good release whatever its nature: outcome, fairness, predictions"
    ]
    assert not any("a good release" in each for each in usual.assumptions)
    assert [one(each).ends[End.PROMOTED].share for each in (asking, usual)] == [1.0, 1.0]


def test_bytes_and_exposure_are_counted_for_everybody_whom_it_reached(tmp_path: Path) -> None:
    found = one(climbing.rehearse(asked(fleet(tmp_path, *cameras(4)), HALVES)))
    assert found.total_bytes.median is not None
    assert found.total_bytes.median > 4 * 220_000
    (world,) = found.worlds
    assert set(world.carried) == {f"camera-{number}-{number:06x}" for number in range(4)}
    soaked_h = QUICK["soak_s"] / HOUR if isinstance(QUICK["soak_s"], int) else 0.0
    assert world.served_s / HOUR >= 2 * soaked_h + 2 * soaked_h / 2


def test_golden_failure_on_one_class_stops_its_installs(tmp_path: Path) -> None:
    found = one(climbing.rehearse(asked(fleet(tmp_path, *cameras(8)), HALVES, "golden:sim-b")))
    assert found.without_a_person.n == 0
    assert {each.guard: each.holds.n for each in found.guards}["installs"] == 1
    assert found.asking.n == 1, "the policy pauses when nothing is decided"
    assert found.served.most is not None
    assert found.served.most <= 4


def test_release_that_dies_silently_is_noticed(tmp_path: Path) -> None:
    policy = HALVES | {"waves": [3, "rest"], "silence_s": 1_800}
    found = one(climbing.rehearse(asked(fleet(tmp_path, *cameras(10)), policy, "silent")))
    assert found.without_a_person.n == 0
    assert found.served.most is not None
    assert found.served.most <= 3


def test_no_look_at_who_serves_counts_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Device-hours are counted a minute a look, also from the last look of the rollout to the first on the way back."""
    looks: list[float] = []
    count = ClimbTwin._count_who_serves

    def noted(twin: ClimbTwin) -> int:
        looks.append(twin.schedule.now_s)
        return count(twin)

    monkeypatch.setattr(ClimbTwin, "_count_who_serves", noted)
    found = one(climbing.rehearse(asked(fleet(tmp_path, *cameras(8), versions=PROMISES_LITTLE), HALVES, "errors:20%")))
    assert found.ends[End.MOVED_BACK].n == 1
    assert len(set(looks)) == len(looks) > 10


@pytest.mark.parametrize(
    ("strategy", "hours"),
    [
        ("canary", 6),
        ({"kind": "shadow", "duration_s": 7_200}, 10),
        ({"kind": "blue_green", "wait_s": 14_400}, 14),
        ({"kind": "site_atomic", "lease_s": 10_800}, 12),
    ],
    ids=lambda each: each["kind"] if isinstance(each, dict) else None,
)
def test_hours_have_room_for_what_a_strategy_waits_for_in_each_wave(
    strategy: object, hours: float, tmp_path: Path
) -> None:
    policy = HALVES | {"strategy": strategy}
    assert climbing.least_hours(asked(fleet(tmp_path, *cameras(2)), policy)) == hours


# --- what a policy says is honoured -----------------------------------------------------------------------------------


def test_person_agrees_after_the_stated_delay_or_never(tmp_path: Path) -> None:
    of, policy = fleet(tmp_path, *cameras(4)), HALVES | {"approvals": [{"before": 2, "by": ["ann", "bob"], "count": 2}]}
    soon, never = (
        one(climbing.rehearse(asked(of, policy, person_delay_s=delay_s, of=replace(asked(of, policy).of, hours=6.0))))
        for delay_s in (2 * HOUR, None)
    )
    first, second = soon.waves
    assert first.promoted_s.median is not None
    assert second.begins_s.median is not None
    assert second.begins_s.median - first.promoted_s.median == pytest.approx(2 * HOUR, abs=180)
    assert (soon.without_a_person.n, soon.agreed.n) == (0, 1)
    assert never.waves[1].begun.n == 0
    assert never.ends[End.HELD].n == 1


def test_window_opens_at_its_hour_and_not_before(tmp_path: Path) -> None:
    policy = HALVES | {"windows": {"weekly": [{"days": ["fri"], "opens": "14:00", "closes": "16:00"}], "zone": "UTC"}}
    of = fleet(tmp_path, *cameras(4))
    waits = one(climbing.rehearse(asked(of, policy)))
    at_once = one(climbing.rehearse(asked(of, HALVES)))
    assert waits.waves[0].promoted_s.median is not None
    assert at_once.waves[0].promoted_s.median is not None
    assert waits.waves[0].promoted_s.median >= 2 * HOUR + 1_200
    assert at_once.waves[0].promoted_s.median < 2 * HOUR


def test_twins_are_dealt_into_the_waves_that_the_preview_shows(tmp_path: Path) -> None:
    rehearsal = asked(fleet(tmp_path, *cameras(6)), HALVES)
    first, second = (ClimbTwin(climbing.scenario_of(rehearsal, rehearsal.natures[0], seed), seed) for seed in (1, 2))
    dealt = first.preview().dealt.numbers
    assert set(dealt) == {f"camera-{number}-{number:06x}" for number in range(6)}
    assert second.preview().dealt.numbers == dealt


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"cohort": "site=turin"}, "the policy cannot be played"),
        ({"cohort": "", "budgets": {"bytes_per_device_max": 10}}, "no variant for it has at most 10 bytes"),
    ],
)
def test_policy_that_the_server_does_not_begin_is_refused_by_its_name(
    tmp_path: Path, policy: dict[str, object], said: str
) -> None:
    with pytest.raises(CannotRehearse, match=said):
        climbing.rehearse(asked(fleet(tmp_path, *cameras(2)), policy))


def test_policy_that_is_none_is_refused_by_its_name() -> None:
    with pytest.raises(CannotRehearse, match=r"p\.yaml cannot be played: .*wavs"):
        policies.given("p.yaml", {"cohort": "", "wavs": [1]})
    with pytest.raises(CannotRehearse, match="r-1 cannot be played: it is a plain assignment's"):
        policies.given("r-1", {"policy": None})


def test_rollout_of_a_server_brings_its_policy_and_its_release() -> None:
    found = policies.given("r-1", {"model": "digits", "version": "2", "policy": {"cohort": "site=lyon"}})
    assert (found.release, str(found.policy.cohort.selector)) == ("digits@2", "site=lyon")


# --- the same again, and the truth ------------------------------------------------------------------------------------


def test_same_seeds_say_the_same_in_one_process_and_in_two(tmp_path: Path) -> None:
    rehearsal = asked(fleet(tmp_path, *cameras(4)), HALVES, seeds=2)
    first, again = climbing.rehearse(rehearsal), climbing.rehearse(rehearsal, processes=2)
    assert first.natures == again.natures


def test_forecast_agrees_with_what_worlds_then_do(tmp_path: Path) -> None:
    """A fleet of its own is exported as a server exports it, rehearsed from that alone, and then played under fresh
    seeds: as many are stopped and promoted, after as long."""
    fresh = 6
    for nature, name in ((Nature.GOOD, "good"), (Nature.ERRORS, "errors:30%")):
        setup = Setup(name=name, devices=10, policy=HALVES, nature=nature, past_hours=3.0, hours=8.0, faults=NONE)
        plan = replace(rollout_worlds.plan(setup, 1), incidents=())
        of = snapshot.of_tree(tmp_path, exported(World(plan), setup.begun_s))
        predicted = one(climbing.rehearse(asked(of, HALVES, name, seeds=4, past_hours=3.0), processes=2))
        ended = []
        for seed in range(101, 101 + fresh):
            world = World(replace(plan, seed=seed))
            watch = rollout_worlds.Watch(world, setup.begun_s)
            assert world.run(over=watch.over).violation is None
            ended.append(watch.played(seed, ""))
        end = End.PROMOTED if nature is Nature.GOOD else End.MOVED_BACK
        low, high = predicted.ends[end].interval()
        truth = sum(each.end is end for each in ended) / fresh
        assert low <= truth <= high, f"{name}: {truth:.0%} of fresh worlds, predicted {low:.0%} to {high:.0%}"
        assert truth >= 0.8
        took = sorted(each.hours for each in ended if each.end is end)[fresh // 2 - 1]
        said = predicted.promoted_s if nature is Nature.GOOD else predicted.stopped_s
        assert said.median is not None
        assert took == pytest.approx(said.median / HOUR, rel=0.4)


def exported(world: World, at_s: float) -> dict[str, Any]:
    """Play a world until its rollout would begin, and return its fleet as its server exports it."""
    world.run(over=partial(_is_at, world, at_s - 60))
    found = Export(world.server.world)
    made = bodies.FleetExport(
        server_version="",
        made_at_s=found.now(),
        anonymous=False,
        devices=[bodies.ExportedDevice.of(each) for each in found.devices(Page(limit=200)).rows],
        versions=[bodies.ExportedVersion.of(each) for each in found.versions()],
        total=0,
        next=None,
    )
    tree: dict[str, Any] = json.loads(made.model_dump_json())
    newest = tree["versions"][0]
    return tree | {"versions": [newest | {"version": "2", "sequence": 2}, newest | {"version": "1", "sequence": 1}]}


def _is_at(world: World, at_s: float) -> bool:
    return world.schedule.now_s >= at_s


@pytest.mark.parametrize(
    ("n", "of", "low", "high"), [(0, 3, 0.0, 0.5615), (3, 3, 0.4385, 1.0), (10, 20, 0.2993, 0.7007), (0, 0, 0.0, 1.0)]
)
def test_interval_is_wilsons(n: int, of: int, low: float, high: float) -> None:
    assert Chance(n=n, of=of).interval() == pytest.approx((low, high), abs=1e-4)


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nature", "amount", "hardware"),
    [
        ("good", Nature.GOOD, 0.0, ""),
        ("errors:3%", Nature.ERRORS_3_PERCENT, 0.03, ""),
        ("errors", Nature.ERRORS_3_PERCENT, 0.0, ""),
        ("slow:20%", Nature.SLOWER_20_PERCENT, 0.2, ""),
        ("golden:jetson-orin", Nature.WRONG, 0.0, "jetson-orin"),
        ("silent", Nature.DIES_SILENTLY, 0.0, ""),
    ],
)
def test_nature_is_read(text: str, nature: Nature, amount: float, hardware: str) -> None:
    found = natures.read(text)
    assert (found.nature, found.hardware) == (nature, hardware)
    assert found.amount == pytest.approx(amount)


@pytest.mark.parametrize("text", ["bad", "errors:0%", "errors:101%", "errors:much", "good:10%", "slow:-3%", ""])
def test_nature_that_is_none_is_said(text: str) -> None:
    with pytest.raises(CannotRehearse, match="--nature"):
        natures.read(text)


def test_command_prints_tables_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet(tmp_path, *cameras(4), versions=(version("2", 2), version("1", 1)))
    (tmp_path / "policy.yaml").write_text(json.dumps(HALVES))
    words = ["rehearse", "--release", "digits@2", "--fleet", str(tmp_path / "fleet.json"), "--past-hours", "1"]
    words += ["--begins-at", "2026-11-27T12:00"]
    words += ["--policy", str(tmp_path / "policy.yaml"), "--seeds", "1", "--nature", "good", "--processes", "1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    for part in (
        "(canary) on 4 devices",
        "If the release is good:",
        "promoted to its end without a person  100% [21%, 100%], 1 of 1",
        "the last wave is promoted",
        "device-hours that served it",
        "WAVE  DEVICES",
        "Assumed, and not known:\n- ",
        "4 device(s) have no share of errors" if "error_share" not in json.dumps(cameras(1)) else "lognormal",
    ):
        assert part in said
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["strategy"], found["devices"]) == ("pinnace-policy-rehearsal", "canary", 4)
    (good,) = found["natures"]
    assert good["promoted_without_a_person"] == {"n": 1, "of": 1, "share": 1.0, "low": 0.2065, "high": 1.0}
    assert [wave["promoted"]["n"] for wave in good["waves"]] == [1, 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nature", "bad"], "--nature: expected one of good"),
        (["--person-delay", "soon"], "--person-delay: expected 30min"),
        (["--begins-at", "noon"], "--begins-at: expected a time as"),
        (["--release", "digits@2"], "--begins-at: expected a time between 2000 and 2100, found 2 s"),
        (["--past-hours", "0"], "--past-hours: expected 0.5 to 48"),
        (["--policy", "/none.yaml"], "--policy /none.yaml: No such file"),
        (["--rollout", "r-1"], "found --policy and --rollout"),
    ],
)
def test_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    fleet(tmp_path, *cameras(1))
    (tmp_path / "policy.yaml").write_text("cohort: ''")
    begun = ["rehearse", "--fleet", str(tmp_path / "fleet.json"), "--policy", str(tmp_path / "policy.yaml")]
    assert main([*begun, *words]) == 2
    assert said in capsys.readouterr().err
