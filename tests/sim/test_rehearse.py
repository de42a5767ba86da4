"""A rehearsal says how long, how much, and who is left behind and why; the same seed says the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pinnace_contract.latest import TrialMode, TrialPolicy
from pinnace_server.domain.policy import Terms
from pinnace_sim.cli import main
from pinnace_sim.errors import BadSnapshot, CannotRehearse
from pinnace_sim.faults import USUAL
from pinnace_sim.rehearsal import forecast, scale, snapshot
from pinnace_sim.rehearsal.forecast import Forecast, Rehearsal
from pinnace_sim.rehearsal.profiles import availability
from pinnace_sim.rehearsal.snapshot import FleetVersion, Snapshot
from pinnace_sim.rehearsal.twin import Fate
from pinnace_sim.traces import Trace, parse
from tests.architecture.project import ROOT

pytestmark = pytest.mark.slow

SIZE = 200_000
OTHERS = 20_000
MOBILE = ROOT / "firmware-sim" / "traces" / "mobile.csv"
SHORT_TRIAL = Terms(trial=TrialPolicy(inferences=10, duration_s=120))
ALWAYS = {"window_s": 604800.0, "changes_a_day": 0.0, "online_share": 1.0}
NEVER = {"window_s": 604800.0, "changes_a_day": 0.0, "online_share": 0.0}
NOW_AND_THEN = {"window_s": 604800.0, "changes_a_day": 24.0, "online_share": 0.5}


def runs(version: str | None = "1", answered_an_hour: float | None = 3600.0) -> list[dict[str, Any]]:
    current = {"release": "a" * 64, "variant": "b" * 64, "version": version, "sequence": 1} if version else None
    return [{"model": "digits", "current": current, "answered_an_hour": answered_an_hour}]


def device(name: str, **changes: object) -> dict[str, Any]:
    """A device as a snapshot has it: there, with room, serving version 1."""
    return {
        "id": name,
        "labels": {},
        "hardware": "raspberry-pi-5",
        "runtimes": ["onnx"],
        "agent_version": "0.1.0",
        "report_every_s": 600,
        "state": "active",
        "online": True,
        "seen_at_s": 1.0,
        "disk_free_bytes": 10**9,
        "memory_free_bytes": 10**9,
        "memory_total_bytes": 2 * 10**9,
        "link": ALWAYS,
        "models": runs(),
        "something": "that a later version adds",
    } | changes


def version(name: str, sequence: int, *, size: int = SIZE, runtime: str = "onnx", **changes: object) -> dict[str, Any]:
    return {
        "model": "digits",
        "version": name,
        "aliases": [],
        "sequence": sequence,
        "other_bytes": OTHERS,
        "requires": {"hardware": [], "agent_version": "", "memory_bytes": 0},
        "variants": [{"runtime": runtime, "precision": "fp32", "size_bytes": size, "peak_memory_bytes": 1000}],
    } | changes


VERSIONS = (version("2", 2, aliases=["production"]), version("1", 1))


def tree(*devices: Mapping[str, Any], versions: tuple[Mapping[str, Any], ...] = VERSIONS) -> dict[str, Any]:
    return {
        "format": "pinnace-fleet",
        "format_version": 1,
        "made_at_s": 2.0,
        "anonymous": False,
        "devices": list(devices),
        "versions": list(versions),
    }


def fleet(folder: Path, *devices: Mapping[str, Any], versions: tuple[Mapping[str, Any], ...] = VERSIONS) -> Snapshot:
    path = folder / "fleet.json"
    path.write_text(json.dumps(tree(*devices, versions=versions)))
    return snapshot.read(path)


def rehearsed(of: Snapshot, *, seeds: int = 1, **changes: Any) -> Forecast:
    asked: dict[str, Any] = {
        "snapshot": of,
        "model": "digits",
        "target": forecast.found_target(of, "digits@2"),
        "terms": SHORT_TRIAL,
        "seeds": tuple(range(1, seeds + 1)),
        "sample": 100,
        "hours": 12.0,
        "bytes_s": 1_000_000.0,
    }
    return forecast.rehearse(Rehearsal(**asked | changes))


def left(found: Forecast) -> dict[str, Fate]:
    return {each.device: each.fate for each in found.left}


# --- who is left behind -----------------------------------------------------------------------------------------------


def test_exactly_those_that_cannot_are_left_behind_each_with_its_reason(tmp_path: Path) -> None:
    found = rehearsed(
        fleet(
            tmp_path,
            device("good-1"),
            device("good-2", link=NOW_AND_THEN),
            device("good-3", models=[]),
            device("other-runtime", runtimes=["tflite"], models=[]),
            device("small-disk", disk_free_bytes=SIZE // 2),
            device("never-there", state="pending", online=False, seen_at_s=None, link=None, models=[]),
            device("gone", online=False, link=NEVER),
            device("two-of-it", state="quarantined"),
        ),
        seeds=2,
    )
    assert left(found) == {
        "other-runtime": Fate.NO_VARIANT,
        "small-disk": Fate.NO_ROOM,
        "never-there": Fate.OFFLINE,
        "gone": Fate.OFFLINE,
        "two-of-it": Fate.QUARANTINED,
    }
    assert all((each.left, each.worlds) == (2, 2) for each in found.left)
    assert all(each.detail for each in found.left)
    assert (found.committed.median, found.committed.p90) == (3, 3)
    assert found.fates[Fate.OFFLINE].median == 2


def test_release_for_others_is_not_taken(tmp_path: Path) -> None:
    needs = {"hardware": ["raspberry-pi-5"], "agent_version": "0.1.0", "memory_bytes": 10**9}
    found = rehearsed(
        fleet(
            tmp_path,
            device("good"),
            device("other-board", hardware="jetson"),
            device("old-agent", agent_version="0.0.9"),
            device("little-memory", memory_total_bytes=10**8),
            versions=(version("2", 2, requires=needs), version("1", 1)),
        )
    )
    assert left(found) == {
        "little-memory": Fate.NO_MEMORY,
        "old-agent": Fate.NOT_FOR_IT,
        "other-board": Fate.NOT_FOR_IT,
    }


def test_device_whose_trial_outlasts_the_hours_is_not_in_time(tmp_path: Path) -> None:
    long = Terms(trial=TrialPolicy(inferences=1_000_000, duration_s=86_400))
    found = rehearsed(fleet(tmp_path, device("slow")), terms=long, hours=1.0)
    assert left(found) == {"slow": Fate.NOT_IN_TIME}
    assert "TRIAL" in found.left[0].detail
    assert found.durations_s[1.0].median is None


# --- how long, and how much -------------------------------------------------------------------------------------------


def test_durations_grow_with_the_share_and_end_with_the_last(tmp_path: Path) -> None:
    devices = [device(f"d{number}", link=NOW_AND_THEN if number % 2 else ALWAYS) for number in range(8)]
    found = rehearsed(fleet(tmp_path, *devices), seeds=3)
    spreads = list(found.durations_s.values())
    medians = [each.median for each in spreads if each.median is not None]
    assert medians == sorted(medians)
    assert len(medians) == 4
    assert all(each.median is not None and each.p90 is not None and each.median <= each.p90 for each in spreads)
    assert medians[-1] > medians[0], "no link was ever dark"


def test_bytes_are_those_of_the_release_and_what_goes_with_it(tmp_path: Path) -> None:
    found = rehearsed(fleet(tmp_path, *(device(f"d{number}") for number in range(3))))
    one = found.device_bytes[0.5]
    assert SIZE + OTHERS < one < 1.3 * (SIZE + OTHERS)
    assert found.total_bytes.median is not None
    assert 3 * (SIZE + OTHERS) < found.total_bytes.median < 1.3 * 3 * (SIZE + OTHERS)


def test_slower_link_takes_longer(tmp_path: Path) -> None:
    of = fleet(tmp_path, device("d"), versions=(version("2", 2, size=2_000_000), version("1", 1)))
    fast, slow = (rehearsed(of, bytes_s=each).durations_s[1.0].median for each in (1_000_000.0, 50_000.0))
    assert fast is not None
    assert slow is not None
    assert slow - fast == pytest.approx(2_000_000 / 50_000.0 - 2, rel=0.15)


def test_trial_goes_by_inferences_or_by_time(tmp_path: Path) -> None:
    busy, idle, none = (
        rehearsed(fleet(tmp_path, device("d", models=runs(answered_an_hour=rate))), terms=terms).durations_s[1.0].median
        for rate, terms in (
            (3600.0, Terms(trial=TrialPolicy(inferences=100, duration_s=1800))),
            (None, Terms(trial=TrialPolicy(inferences=100, duration_s=1800))),
            (None, Terms(trial=TrialPolicy(mode=TrialMode.NONE))),
        )
    )
    assert busy is not None
    assert idle is not None
    assert none is not None
    assert none < 60 < 100 < busy < 200 < 1800 < idle < 2000


def test_files_that_are_played_smaller_take_as_long_and_weigh_as_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = (version("2", 2, size=2_000_000), version("1", 1, size=2_000_000))
    of = fleet(tmp_path, device("d"), device("small", disk_free_bytes=1_500_000), versions=versions)
    real = rehearsed(of, bytes_s=100_000.0)
    monkeypatch.setattr(scale, "MEMORY_BYTES_MAX", 600_000)
    scaled = rehearsed(of, bytes_s=100_000.0)
    assert any("a byte of a file stands for 16" in each for each in scaled.assumptions)
    assert left(scaled) == left(real) == {"small": Fate.NO_ROOM}
    assert scaled.durations_s[1.0].median == pytest.approx(real.durations_s[1.0].median, rel=0.1)
    assert scaled.device_bytes[0.5] == pytest.approx(real.device_bytes[0.5], rel=0.1)


# --- links ------------------------------------------------------------------------------------------------------------


def test_drawn_link_is_there_for_its_share_of_the_time(tmp_path: Path) -> None:
    (one,) = fleet(tmp_path, device("d", link=NOW_AND_THEN | {"online_share": 0.8})).devices
    seconds = 86_400.0 * 100
    rows = list(availability(one, "d", 1, seconds=seconds, bytes_s=5.0))
    ends = [*(each.at_s for each in rows[1:]), seconds]
    there = sum(end - each.at_s for each, end in zip(rows, ends, strict=True) if each.down_bytes_s)
    assert there / seconds == pytest.approx(0.8, abs=0.04)
    assert len(rows) / 100 == pytest.approx(24, rel=0.15)


def test_trace_takes_the_place_of_what_was_seen(tmp_path: Path) -> None:
    head = "at_s,device,up_bytes_s,down_bytes_s,delay_ms,loss\n"
    trace = parse(Path("t.csv"), f"{head}0,d,100000,100000,50,0\n0,e,0,0,0,0\n7200,e,100000,100000,50,0\n")
    found = rehearsed(fleet(tmp_path, device("d", link=NEVER, online=False), device("e")), trace=trace)
    assert found.left == ()
    first, last = found.durations_s[0.5].median, found.durations_s[1.0].median
    assert first is not None
    assert last is not None
    assert first < 3600 < 6000 < last
    assert any("the trace's" in each for each in found.assumptions)


def test_usual_faults_leave_nobody_behind_for_long(tmp_path: Path) -> None:
    found = rehearsed(
        fleet(tmp_path, *(device(f"d{number}") for number in range(4))), faults=USUAL, trace=Trace(rows=_mobile())
    )
    assert found.left == ()


def _mobile() -> tuple[Any, ...]:
    return parse(MOBILE, MOBILE.read_text()).rows


# --- the same again ---------------------------------------------------------------------------------------------------


def test_same_seeds_say_the_same_and_others_do_not(tmp_path: Path) -> None:
    of = fleet(tmp_path, *(device(f"d{number}", link=NOW_AND_THEN) for number in range(5)))
    first, again = rehearsed(of, seeds=2), rehearsed(of, seeds=2)
    assert first.tree() == again.tree()
    assert rehearsed(of, seeds=1).durations_s != first.durations_s


def test_sample_stands_for_the_fleet_and_says_so(tmp_path: Path) -> None:
    devices = [device(f"d{number}") for number in range(30)]
    of = fleet(tmp_path, *devices, device("other-runtime", runtimes=["tflite"], models=[]))
    found = rehearsed(of, sample=3, seeds=2)
    assert found.committed.median == pytest.approx(30)
    assert left(found) == {"other-runtime": Fate.NO_VARIANT}, "few of many are not overlooked"
    assert found.fates[Fate.NO_VARIANT].median == 1
    assert found.total_bytes.median == pytest.approx(30 * found.device_bytes[0.5], rel=0.05)
    assert any("3 of the 30 devices" in each for each in found.assumptions)


def test_unknowns_are_counted_among_the_assumptions(tmp_path: Path) -> None:
    of = fleet(
        tmp_path,
        device("d", link=None, disk_free_bytes=None, memory_free_bytes=None, models=runs("0", None)),
        device("e", models=runs("0")),
    )
    found = rehearsed(of)
    said = "\n".join(found.assumptions)
    for words in (
        "1 device(s) have no history of their link",
        "1 device(s) have not said how much disk",
        "1 device(s) have not said how much memory",
        "1 device(s) have counted no inferences",
        "1 version(s) that serve now are not in the snapshot",
        "nothing breaks",
        "nothing is looked at after 12 hours",
    ):
        assert words in said
    assert found.left == ()


# --- the file and the command -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "other"}, "whose format is pinnace-fleet"),
        ({"format_version": 2}, "expected format_version 1, found 2"),
        ({"devices": [{"id": "d"}]}, "a field is missing"),
        ({"devices": [device("d"), device("d")]}, "twice"),
        ({"devices": 7}, "of another type"),
        ({"made_at_s": None}, "of another type"),
    ],
)
def test_file_that_is_no_snapshot_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(tree(device("d")) | changes))
    with pytest.raises(BadSnapshot, match=said):
        snapshot.read(path)


@pytest.mark.parametrize("name", ["digits@2", "digits@production", "digits@@production"])
def test_release_is_named_by_version_or_alias(tmp_path: Path, name: str) -> None:
    found: FleetVersion = forecast.found_target(fleet(tmp_path, device("d")), name)
    assert found.version == "2"


@pytest.mark.parametrize("name", ["digits", "digits@9", "@2", "other@2"])
def test_release_that_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotRehearse):
        forecast.found_target(fleet(tmp_path, device("d")), name)


def test_command_prints_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet(tmp_path, device("d"), device("gone", online=False, link=NEVER))
    words = ["rehearse", "--release", "digits@2", "--fleet", str(tmp_path / "fleet.json"), "--seeds", "1"]
    assert main([*words, "--trial", "none"]) == 0
    said = capsys.readouterr().out
    assert "digits 2 on 2 devices; 1 worlds of 72 hours" in said
    for part in ("committed: 50 %", "bytes in all", "gone    offline", "Assumed:\n- "):
        assert part in said
    assert main([*words, "--trial-inferences", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["devices"], found["committed"]["median"]) == ("pinnace-rehearsal", 2, 1)
    assert set(found["duration_s"]) == {"50", "90", "99", "last"}
    assert found["left_devices"][0]["reason"] == "offline"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "0"], "--seeds: expected 1 to"),
        (["--hours", "0"], "--hours: expected"),
        (["--fleet", "/none.json"], "cannot be read"),
        (["--release", "digits"], "expected MODEL@VERSION"),
    ],
)
def test_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    fleet(tmp_path, device("d"))
    assert main(["rehearse", "--release", "digits@2", "--fleet", str(tmp_path / "fleet.json"), *words]) == 2
    assert said in capsys.readouterr().err
