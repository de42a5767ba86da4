"""What links on real wires carry: their kind's rate, or what a trace says of the moment."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pinnace_sim.fleet.pace import Pace
from pinnace_sim.links import Course, LinkRow
from tests.needs import need

PATIENCE_S = 300  # a bound for a broken run


def row(at_s: float, bytes_s: float, *, delay_s: float = 0.0, loss: float = 0.0) -> LinkRow:
    return LinkRow(at_s=at_s, device="a", up_bytes_s=bytes_s / 10, down_bytes_s=bytes_s, delay_s=delay_s, loss=loss)


def pace(*rows: LinkRow, repeat_s: float = 0.0) -> Pace:
    return Pace(bytes_s=7.0, chance=random.Random(1), course=Course(rows, repeat_s=repeat_s) if rows else None)


def test_without_a_course_a_link_is_what_its_kind_has() -> None:
    found = pace()
    assert (found.down_bytes_s(5.0), found.up_bytes_s(5.0), found.delay_s(5.0)) == (7.0, math.inf, 0.0)
    assert (found.dark_s(5.0), found.next_after(5.0), found.loses(5.0)) == (0.0, math.inf, False)


def test_a_course_says_what_holds_at_the_moment() -> None:
    found = pace(row(0, 100, delay_s=0.5), row(10, 1_000, loss=0.99))
    assert (found.down_bytes_s(9.0), found.up_bytes_s(9.0), found.delay_s(9.0)) == (100, 10, 0.5)
    assert (found.down_bytes_s(11.0), found.up_bytes_s(11.0), found.delay_s(11.0)) == (1_000, 100, 0.0)
    assert not found.loses(9.0)
    assert any(found.loses(11.0) for _ in range(10))


@pytest.mark.parametrize(("at_s", "dark_s"), [(9, 0), (10, 20), (25, 5), (30, 0), (99, 0), (110, 20)])
def test_darkness_is_as_long_as_its_rows_together(at_s: float, dark_s: float) -> None:
    found = pace(row(0, 100), row(10, 0), row(20, 0), row(30, 50), repeat_s=100)
    assert found.dark_s(at_s) == pytest.approx(dark_s, abs=1e-3)


def test_a_course_that_ends_dark_is_dark_for_ever() -> None:
    assert pace(row(0, 100), row(10, 0)).dark_s(11.0) == math.inf
    assert pace(row(0, 0), repeat_s=60).dark_s(11.0) == math.inf


@pytest.mark.parametrize(
    ("rows", "repeat_s", "longest_s"),
    [
        ((row(0, 100), row(10, 0), row(20, 0), row(30, 50)), 100.0, 20.0),
        ((row(0, 0), row(10, 100), row(90, 0)), 100.0, 20.0),
        ((row(0, 100), row(10, 0)), 0.0, math.inf),
        ((row(0, 100),), 0.0, 0.0),
    ],
)
def test_the_longest_darkness_may_go_over_the_end(rows: tuple[LinkRow, ...], repeat_s: float, longest_s: float) -> None:
    assert Course(rows, repeat_s=repeat_s).longest_dark_s == longest_s


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_a_fleet_whose_links_go_dark_loses_nothing(tmp_path: Path) -> None:
    need("mosquitto")
    trace = tmp_path / "links.csv"
    trace.write_text(
        "# repeat_s=60\nat_s,device,up_bytes_s,down_bytes_s,delay_ms,loss\n"
        "0,a,50000,500000,40,0.05\n20,a,0,0,0,0\n45,a,50000,500000,40,0.05\n"
        "0,b,20000,200000,80,0\n30,b,0,0,0,0\n33,b,20000,200000,80,0\n"
    )
    command = [sys.executable, "-m", "pinnace_sim", "fleet", "--devices", "6", "--profile", "steady"]
    command += ["--minutes", "0.8", "--report-every-s", "5", "--model-bytes", "200000", "--processes", "1"]
    done = subprocess.run(
        [*command, "--trace", str(trace), "--json"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    summary = json.loads(done.stdout)
    assert (summary["lost"], summary["agent_failures"]) == (0, 0)
    assert summary["connections_ended"]["the link is dark"] >= 3, "three of six were cut off"
