"""A fleet in a box: real agents on real wires against a real server and broker, and the books at the end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from pinnace_agent.adapters.filesystem import Directory, locked
from pinnace_agent.store_port import Files, StorageBroken, StorageFull, write_durably
from pinnace_contract import codec
from pinnace_contract.ids import BootId, DeviceId
from pinnace_converters.draft import Draft
from pinnace_sim.fleet import books, model, profiles
from pinnace_sim.fleet.cli import Shown
from pinnace_sim.fleet.disk import Pool, SharedDisk
from pinnace_sim.fleet.profiles import PROFILES, UnknownProfile
from pinnace_sim.fleet.scenario import Seen
from pinnace_sim.fleet.summary import percentiles
from pinnace_sim.fleet.tally import Account, Progress
from tests.needs import need

DEVICES = 25
REPORT_EVERY_S = 2
PATIENCE_S = 600  # a bound for a broken run
CAMERA, BOOT = DeviceId("camera-1"), BootId("b" * 32)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_a_fleet_with_devices_that_sleep_come_and_go_loses_nothing() -> None:
    need("mosquitto")
    command = [sys.executable, "-m", "pinnace_sim", "fleet", "--devices", str(DEVICES), "--profile", "mixed"]
    command += ["--minutes", "0.4", "--report-every-s", str(REPORT_EVERY_S), "--model-bytes", "300000"]
    command += ["--processes", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    summary: dict[str, Any] = json.loads(done.stdout)
    assert (summary["lost"], summary["agent_failures"], summary["problems"]) == (0, 0, [])
    assert summary["joined"] == summary["left"] == 1, "somebody came and somebody went"
    assert summary["devices"] == DEVICES + 1
    assert summary["receipts"]["committed"] >= DEVICES
    assert {summary["receipts"][each] for each in ("lost", "twice", "uncommitted")} == {0}
    assert summary["reports"]["received"] > 2 * DEVICES
    assert (summary["profile"], summary["processes"]) == ("mixed", 2)
    assert set(summary["seconds"]) == {"enrol", "connect", "commit", "report", "finish"}
    for name in ("connect", "assigned_to_committed", "report_to_acknowledged"):
        found = summary["percentiles_s"][name]
        assert list(found) == ["p50", "p95", "p99", "max"]
        assert list(found.values()) == sorted(found.values())
    for who in ("broker", "server", "simulator"):
        cost = summary["costs"][who]
        assert cost["memory_peak_mib"] >= cost["memory_mib"] > 0


def test_progress_counts_commits_of_all_devices_that_are_to_commit(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(enrolled=21, connected=18, committed=21, reports=41, acknowledged=40, joined=1, asleep=2)
    Shown(live=False)(Seen(stage="report", of=20, progress=progress, costs={}))
    assert capsys.readouterr().err == (
        "report:  21 enrolled, 18 connected, 21 committed of 21, 40 of 41 reports acknowledged, 2 asleep\n"
    )


def test_an_unknown_profile_names_those_that_there_are() -> None:
    with pytest.raises(UnknownProfile, match=r"'fast'; expected one of mixed, restless, sleepy, steady"):
        profiles.named("fast")


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_a_fleet_has_its_kinds_by_their_shares(profile: profiles.Profile) -> None:
    total = sum(kind.share for kind in profile.kinds)
    for count in (1, 7, 1000):
        kinds = profile.drawn(count, random.Random(1))
        assert len(kinds) == count
        found = Counter(kind.name for kind in kinds)
        for kind in profile.kinds:
            assert abs(found[kind.name] - count * kind.share / total) <= 1


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_kinds_are_possible_devices(profile: profiles.Profile) -> None:
    assert 0 <= profile.joins < 1
    assert 0 <= profile.leaves < 1
    for kind in profile.kinds:
        assert kind.bytes_s > 0
        assert kind.hash_bytes_s > 0
        assert 0 <= kind.temper.error_share < 1
        assert (kind.awake_s > 0) == (kind.asleep_s > 0)


class TestModel:
    @pytest.mark.parametrize("size", [1, 1_000, 100_000, 1_000_000])
    def test_it_is_onnx_of_about_the_size(self, size: int) -> None:
        made = model.drawn(size, seed=3)
        file = made.files[made.draft.variants[0].blob.digest]
        onnx.checker.check_model(onnx.load_model_from_string(file), full_check=True)
        assert made.model_bytes == len(file)
        assert abs(len(file) - size) < max(600, size // 100)

    def test_the_same_seed_draws_the_same_files(self) -> None:
        assert model.drawn(5_000, seed=3) == model.drawn(5_000, seed=3)
        assert model.drawn(5_000, seed=3).files != model.drawn(5_000, seed=4).files

    def test_the_draft_is_one_and_its_files_are_there(self) -> None:
        made = model.drawn(200_000, seed=3)
        assert Draft.from_json(made.draft.to_json()) == made.draft
        for blob in made.draft.blobs():
            assert sum(chunk.size_bytes for chunk in blob.chunks) == len(made.files[blob.digest])
        assert codec.to_json(made.draft)


@pytest.fixture(params=["shared", "disk"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    """The memory of a fleet has to behave as a real disk does."""
    if request.param == "shared":
        made = SharedDisk(Pool(), 1 << 30)
        made.make_dir("tmp")
        yield made
    else:
        with locked(tmp_path / "store"):
            made_there = Directory(tmp_path / "store")
            made_there.make_dir("tmp")
            yield made_there


class TestDisk:
    def test_pieces_make_a_file_in_any_order(self, files: Files) -> None:
        files.make_dir("parts")
        files.allocate("parts/a", 10)
        assert files.read("parts/a", 0, 100) == bytes(10)
        files.write("parts/a", 6, b"ghij")
        files.write("parts/a", 0, b"abc")
        assert files.read("parts/a", 0, 100) == b"abc\0\0\0ghij"
        assert files.read("parts/a", 2, 3) == b"c\0\0"
        files.write("parts/a", 3, b"def")
        assert files.read("parts/a", 1, 8) == b"bcdefghi"
        assert files.read("parts/a", 9, 100) == b"j"
        assert files.read("parts/a", 10, 100) == b""

    def test_writing_over_pieces_changes_what_it_covers(self, files: Files) -> None:
        files.create("a", b"0123456789")
        files.write("a", 2, b"abc")
        files.write("a", 4, b"XY")
        assert files.read("a", 0, 100) == b"01abXY6789"
        files.write("a", 8, b"longer")
        assert files.read("a", 0, 100) == b"01abXY67longer"
        assert files.size_bytes("a") == 14

    @pytest.mark.parametrize("seed", range(5))
    def test_random_writes_end_in_what_a_byte_array_would_hold(self, files: Files, seed: int) -> None:
        chance, expected = random.Random(seed), bytearray(200)
        files.allocate("a", 200)
        for _ in range(60):
            at, data = chance.randrange(190), chance.randbytes(chance.randint(1, 30))
            expected[at : at + len(data)] = data
            files.write("a", at, data)
            first = chance.randrange(len(expected))
            size = chance.randrange(60)
            assert files.read("a", first, size) == bytes(expected[first : first + size])
        assert files.read("a", 0, 1000) == bytes(expected)

    def test_names_are_given_and_taken(self, files: Files) -> None:
        files.make_dir("spool")
        write_durably(files, "spool/b", b"1")
        write_durably(files, "spool/a", b"2")
        write_durably(files, "spool/b", b"3")
        assert files.names("spool") == ("a", "b")
        assert files.read("spool/b", 0, 9) == b"3"
        files.remove("spool/b")
        files.remove("spool/never there")
        assert files.names("spool") == ("a",)
        assert files.read("spool/b", 0, 9) is None
        assert files.size_bytes("spool/b") is None
        assert files.names("no folder") == ()

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda files: files.write("nothing", 0, b"x"),
            lambda files: files.rename("nothing", "b"),
            lambda files: files.create("no folder/a", b"x"),
        ],
        ids=["write", "rename", "folder"],
    )
    def test_what_is_not_there_is_an_error(self, files: Files, wrong: object) -> None:
        with pytest.raises(StorageBroken):
            wrong(files)  # type: ignore[operator]

    def test_it_is_full_when_it_is_full(self) -> None:
        disk = SharedDisk(Pool(), 100)
        disk.create("a", bytes(60))
        with pytest.raises(StorageFull):
            disk.allocate("b", 41)
        disk.allocate("b", 40)
        assert disk.free_bytes() == 0
        with pytest.raises(StorageFull):
            disk.write("b", 39, b"xy")
        disk.create("a", bytes(50))
        assert disk.free_bytes() == 10
        disk.rename("b", "a")
        assert disk.free_bytes() == 60
        disk.remove("a")
        assert disk.free_bytes() == 100

    def test_what_many_devices_hold_is_kept_once(self) -> None:
        pool, content = Pool(), random.Random(1).randbytes(8_000)
        for _ in range(50):
            disk = SharedDisk(pool, 1 << 20)
            disk.make_dir("parts")
            disk.make_dir("blobs")
            disk.allocate("parts/a", len(content))
            for at in range(0, len(content), 2_000):
                disk.write("parts/a", at, bytes(bytearray(content[at : at + 2_000])))
            disk.rename("parts/a", "blobs/a")
            assert disk.read("blobs/a", 0, len(content)) == content
            assert disk.free_bytes() == (1 << 20) - len(content)
        assert pool.size_bytes == len(content)


def receipt(device: str = CAMERA, *, counted: bool = True) -> dict[str, object]:
    return {"device": device, "counted": counted}


def numbers(first: int, last: int, *, boot: str = BOOT, dropped: bool = False) -> dict[str, object]:
    return {"device": CAMERA, "boot": boot, "seq_from": first, "seq_to": last, "dropped": dropped}


class TestBooks:
    GOOD = Account(device=CAMERA, reports={BOOT: 5}, committed=True)

    def test_they_are_in_order_where_everything_is_there(self) -> None:
        found = books.compared([self.GOOD], [receipt()], [numbers(1, 2), numbers(3, 5), numbers(1, 9, boot="c" * 32)])
        assert (found.lost, found.reports, found.receipts, found.told) == (0, 5, 1, [])

    @pytest.mark.parametrize(
        ("account", "receipts", "ranges", "lost", "says"),
        [
            (GOOD, [receipt()], [numbers(1, 3), numbers(5, 5)], 1, "report 4 of run bbbbbbbb was acknowledged"),
            (GOOD, [receipt()], [], 5, "report 1 of run"),
            (GOOD, [receipt()], [numbers(1, 5, dropped=True)], 5, "is not there"),
            (GOOD, [], [numbers(1, 5)], 1, "its receipt is not there"),
            (GOOD, [receipt(counted=False)], [numbers(1, 5)], 1, "its receipt is not there"),
            (GOOD, [receipt("other")], [numbers(1, 5)], 1, "its receipt is not there"),
            (GOOD, [receipt(), receipt()], [numbers(1, 5)], 1, "2 committed receipts"),
            (Account(device=CAMERA, reports={}), [], [], 1, "never committed"),
            (
                Account(device=CAMERA, reports={BOOT: 5}, unacknowledged=((BOOT, 5),), committed=True),
                [receipt()],
                [numbers(1, 4)],
                1,
                "1 reports were never acknowledged",
            ),
        ],
        ids=["gap", "none", "dropped", "no receipt", "uncounted", "another's", "twice", "uncommitted", "waiting"],
    )
    def test_what_is_missing_is_counted_and_told(
        self, account: Account, receipts: list[dict[str, object]], ranges: list[dict[str, object]], lost: int, says: str
    ) -> None:
        found = books.compared([account], receipts, ranges)
        assert found.lost == lost
        assert says in found.told[0]

    def test_who_left_owes_only_what_was_acknowledged(self) -> None:
        left = Account(device=CAMERA, reports={BOOT: 5}, unacknowledged=((BOOT, 4), (BOOT, 5)), left=True)
        assert books.compared([left], [], [numbers(1, 3)]).lost == 0
        assert books.compared([left], [], [numbers(1, 2)]).lost == 1


def test_percentiles_are_of_what_there_is() -> None:
    assert percentiles([]) == {}
    assert percentiles([2.0]) == {"p50": 2.0, "p95": 2.0, "p99": 2.0, "max": 2.0}
    assert percentiles([float(n) for n in range(1, 101)]) == {"p50": 51.0, "p95": 96.0, "p99": 100.0, "max": 100.0}
