"""Traces: read with limits, made from a seed, and obeyed by the network to the second."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pinnace_sim import replay, stories, trace_kinds, traces
from pinnace_sim.cli import main
from pinnace_sim.errors import BadTrace
from pinnace_sim.faults import NO_MESSAGE_FAULTS, NONE, FaultKind
from pinnace_sim.journal import Journal
from pinnace_sim.links import Course, LinkRow
from pinnace_sim.network import Connection, Message, Network
from pinnace_sim.plan import Plan
from pinnace_sim.schedule import Schedule
from pinnace_sim.trace_kinds import TraceKind
from pinnace_sim.world import World
from tests.architecture.project import ROOT

HEAD = "at_s,device,up_bytes_s,down_bytes_s,delay_ms,loss"
SHIPPED = ROOT / "firmware-sim" / "traces"
SHIPPED_BYTES_MAX = 60_000
SOMEWHERE = Path("trace.csv")


def parsed(*lines: str) -> traces.Trace:
    return traces.parse(SOMEWHERE, "\n".join((HEAD, *lines)))


def row(at_s: float, up: float = 1000, down: float = 1000, delay_s: float = 0.0, loss: float = 0.0) -> LinkRow:
    return LinkRow(at_s=at_s, device="a", up_bytes_s=up, down_bytes_s=down, delay_s=delay_s, loss=loss)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_trace_is_read_with_its_comments_and_its_repetition() -> None:
    text = f"# of the plant\n# repeat_s=3600\n\n{HEAD}\n60, a ,0,0,0,0\n0,a,1000,2e3,25,0.5\n".replace("60, a", "0, b")
    found = traces.parse(SOMEWHERE, text)
    assert found.repeat_s == 3600
    assert found.rows[1] == LinkRow(at_s=0, device="a", up_bytes_s=1000, down_bytes_s=2000, delay_s=0.025, loss=0.5)
    assert found.devices == ("b", "a")


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        pytest.param(["at_s,device"], 1, "expected the columns", id="other columns"),
        pytest.param([HEAD, "0,a,1,1,0"], 2, "expected 6 values, found 5", id="a value too few"),
        pytest.param([HEAD, "0,a,1,1,0,0", "0,a,1,1,0,0"], 3, "must go on in time", id="the same second twice"),
        pytest.param(
            [HEAD, "# why", "", "-1,a,1,1,0,0"], 4, "at_s: expected a number from 0", id="before the beginning"
        ),
        pytest.param([HEAD, "0,a,nan,1,0,0"], 2, "up_bytes_s: expected a number", id="not a number"),
        pytest.param([HEAD, "0,a,1,inf,0,0"], 2, "down_bytes_s: expected a number", id="infinite"),
        pytest.param([HEAD, "0,a,0.5,1,0,0"], 2, "0, which is dark, or at least 1", id="nearly dark"),
        pytest.param([HEAD, "0,a,1,1,700000,0"], 2, "delay_ms", id="a delay over the limit"),
        pytest.param([HEAD, "0,a,1,1,0,1"], 2, "loss", id="everything lost"),
        pytest.param([HEAD, "0,a b,1,1,0,0"], 2, "expected a device or *", id="no device"),
        pytest.param(["# repeat_s=0", HEAD, "0,a,1,1,0,0"], 1, "repeat_s", id="repeats at once"),
        pytest.param(["# repeat_s=60", HEAD, "60,a,1,1,0,0"], 0, "repeats after 60 s", id="a row after its end"),
        pytest.param([HEAD], 0, "no rows", id="nothing in it"),
    ],
)
def test_error_names_its_line(lines: list[str], line: int, said: str) -> None:
    with pytest.raises(BadTrace, match=said.replace("*", r"\*")) as error:
        traces.parse(SOMEWHERE, "\n".join(lines))
    assert error.value.line == line


def test_rows_of_too_many_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "DEVICES_MAX", 1)
    with pytest.raises(BadTrace, match="at most"):
        parsed("0,a,1,1,0,0", "0,b,1,1,0,0")


def test_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--seeds", "1", "--trace", str(tmp_path / "none.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "whose"),
    [
        pytest.param(["0,a,1,1,0,0", "0,*,1,1,0,0"], {"a": "a", "x": "*", "y": "*"}, id="others take the star"),
        pytest.param(["0,a,1,1,0,0", "0,b,1,1,0,0"], {"a": "a", "x": "a", "y": "b"}, id="without one they take turns"),
    ],
)
def test_every_device_has_rows(lines: list[str], whose: dict[str, str]) -> None:
    assert parsed(*lines).dealt(("a", "x", "y")) == whose


# --- made ones --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "hours"), [(TraceKind.MOBILE, 48), (TraceKind.PLANT_WIFI, 168)])
def test_shipped_trace_is_what_the_generator_makes(kind: TraceKind, hours: int, tmp_path: Path) -> None:
    shipped, out = SHIPPED / f"{kind}.csv", tmp_path / "made.csv"
    words = ["--kind", kind, "--devices", "8", "--hours", str(hours), "--seed", "1", "--out", str(out)]
    assert main(["trace", "make", *words]) == 0
    assert out.read_bytes() == shipped.read_bytes()
    assert shipped.stat().st_size < SHIPPED_BYTES_MAX


@pytest.mark.parametrize("kind", list(TraceKind))
def test_made_trace_is_the_same_after_it_was_written(kind: TraceKind) -> None:
    made = trace_kinds.make(kind, devices=3, hours=30, seed=7)
    assert traces.parse(SOMEWHERE, traces.written(made, "a remark")) == made
    assert made != trace_kinds.make(kind, devices=3, hours=30, seed=8)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [(TraceKind.MOBILE, 0.7, 0.95), (TraceKind.PLANT_WIFI, 0.6, 0.7), (TraceKind.NIGHTLY, 0.12, 0.22)],
)
def test_kind_is_there_for_its_share_of_the_time(kind: TraceKind, least: float, most: float) -> None:
    made = trace_kinds.make(kind, devices=20, hours=24 * 7, seed=3)
    light = 0.0
    for name in made.devices:
        rows = [each for each in made.rows if each.device == name]
        ends = [*(each.at_s for each in rows[1:]), made.repeat_s]
        light += sum(end - each.at_s for each, end in zip(rows, ends, strict=True) if each.down_bytes_s)
    assert least < light / (20 * made.repeat_s) < most


# --- what they do -----------------------------------------------------------------------------------------------------


def test_row_holds_until_the_next_one_and_the_last_for_ever() -> None:
    course = Course([row(10, down=1), row(20, down=2)])
    assert [course.at(now_s).down_bytes_s for now_s in (0, 10, 19.9, 20, 1e9)] == [1, 1, 1, 2, 2]
    assert [course.next_after(now_s) for now_s in (0, 10, 20)] == [10, 20, math.inf]


def test_course_begins_again() -> None:
    course = Course([row(10, down=1), row(20, down=2)], from_s=100, repeat_s=60)
    assert [course.at(100 + now_s).down_bytes_s for now_s in (0, 10, 20, 60, 70, 80)] == [2, 1, 2, 2, 1, 2]
    assert [course.next_after(100 + now_s) for now_s in (0, 10, 20, 70)] == [110, 120, 170, 180]


def test_course_steps_through_every_row_whatever_floats_add_up_to() -> None:
    course, at_s, seen = Course([row(0.1, down=1), row(0.2, down=2), row(0.3, down=3)], repeat_s=0.7), 0.0, ""
    for _ in range(3000):
        at_s = course.next_after(at_s)
        seen += f"{course.at(at_s).down_bytes_s:g}"
    assert seen == "123" * 1000


def test_course_is_dark_where_one_direction_is_all_the_time() -> None:
    course = Course([row(0), row(100, up=0), row(200, down=0), row(300)]).beginning_at(1000)
    assert course.is_dark(1100, 1300)
    assert not course.is_dark(1050, 1300)
    assert not course.is_dark(1100, 1301)
    assert Course([row(0, up=0)]).is_dark(0, 1e9)


@dataclass
class Peer:
    """One end of a line; writes down what reached it and when."""

    schedule: Schedule
    got: list[tuple[float, str]] = field(default_factory=list)

    def connected(self, number: int, session: bool) -> None:
        self.got.append((round(self.schedule.now_s, 3), "connected"))

    def lost(self, number: int, reason: str) -> None:
        self.got.append((round(self.schedule.now_s, 3), reason))

    def arrived(self, message: Message) -> None:
        self.got.append((round(self.schedule.now_s, 3), message.payload[:1].decode()))


class Lines:
    """A network with one device on it."""

    def __init__(self, *rows: LinkRow) -> None:
        self.schedule, self.counts = Schedule(), Counter[str]()
        journal = Journal(lambda: self.schedule.now_s, keeps=False)
        self.network = Network(self.schedule, 1, NO_MESSAGE_FAULTS, journal, self.counts)
        self.network.follow("a", Course(rows))
        self.peer = Peer(self.schedule)

    def connect(self) -> None:
        self.network.connect(Connection(client=self.peer, name="a", number=1, will=None, bytes_s=1e9))

    def send(self, payload: bytes, qos: int = 1) -> None:
        self.network.inject(Message("pinnace/v1/a/down/command/x", payload, qos))


def test_bytes_take_their_time_and_the_delay_comes_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinnace_sim.network._subscriber", lambda _topic: "a")
    lines = Lines(row(0, down=100, delay_s=0.5), row(50, down=1000, delay_s=0.25))
    lines.connect()
    lines.schedule.at(10, lambda: lines.send(b"x" * 1000))
    lines.schedule.at(60, lambda: lines.send(b"y" * 1000))
    lines.schedule.run_until(100)
    times = {what: at_s for at_s, what in lines.peer.got}
    assert times["connected"] == 1.0
    assert (times["x"], times["y"]) == (20.5, 61.25)


def test_dark_line_ends_its_connection_and_takes_none_until_it_is_light() -> None:
    lines = Lines(row(0), row(100, up=0, down=0), row(300))
    lines.connect()
    lines.schedule.at(200, lines.connect)
    lines.schedule.at(310, lines.connect)
    lines.schedule.run_until(400)
    assert [what for _, what in lines.peer.got] == [
        "connected",
        "nothing was heard",
        "the broker cannot be reached",
        "connected",
    ]


def test_loss_takes_its_share_of_what_nobody_acknowledges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinnace_sim.network._subscriber", lambda _topic: "a")
    lines = Lines(row(0, loss=0.5))
    lines.connect()
    for number in range(400):
        lines.schedule.at(10 + number, lambda: lines.send(b"x", qos=0))
        lines.schedule.at(10 + number, lambda: lines.send(b"y", qos=1))
    lines.schedule.run_until(1000)
    arrived = Counter(what for _, what in lines.peer.got)
    assert 150 < arrived["x"] < 250
    assert arrived["x"] + lines.counts[FaultKind.LOSS] == arrived["y"] == 400


def driven_plan(seed: int = 2) -> Plan:
    plan = stories.one_update(seed, devices=2, hours=4.0, faults=NONE)
    return trace_kinds.make(TraceKind.MOBILE, devices=1, hours=6, seed=5).onto(plan)


def test_plan_with_a_trace_comes_back_from_its_tree() -> None:
    plan = driven_plan()
    assert plan.links
    assert Plan.from_tree(json.loads(json.dumps(plan.tree()))) == plan


@pytest.mark.slow
def test_world_with_a_trace_breaks_no_rule_and_is_played_again_from_its_log(tmp_path: Path) -> None:
    outcome = World(driven_plan(), keeps_log=True).run()
    assert outcome.violation is None, f"{outcome.violation}"
    assert any("nothing was heard" in line for line in outcome.lines), "the trace was never dark"
    log = tmp_path / "world.jsonl"
    log.write_text("".join(f"{line}\n" for line in outcome.lines))
    assert replay.replay(log).differs_at is None


def test_explore_takes_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trace.csv"
    assert main(["trace", "make", "--kind", "nightly", "--devices", "1", "--out", str(out)]) == 0
    words = ["--seeds", "1", "--devices", "1", "--hours", "1", "--processes", "1", "--no-logs", "--json"]
    capsys.readouterr()
    assert main(["explore", *words, "--trace", str(out)]) == 0
    driven = json.loads(capsys.readouterr().out)
    assert main(["explore", *words]) == 0
    assert driven["events"] != json.loads(capsys.readouterr().out)["events"]


@pytest.mark.parametrize(
    ("words", "said"), [(["--hours", "0"], "more than 0"), (["--devices", "0"], "1 to 10000 devices")]
)
def test_trace_out_of_bounds_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["trace", "make", "--kind", "mobile", "--out", str(tmp_path / "t.csv"), *words]) == 2
    assert said in capsys.readouterr().err
