"""Rows of rollouts that this server cannot read: a newer one wrote them, they were damaged, or edited by hand."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pinnace_contract.latest import Intent, Outcome, Runtime
from pinnace_server.console.query import RolloutQuery
from pinnace_server.console.reading.rollouts import RolloutReads, waiting_for_a_person
from pinnace_server.domain import queries
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import Event, EventKind, MemberState, Rollout, RolloutState, Severity
from pinnace_server.domain.why import StepKind
from pinnace_server.errors import Unreadable
from pinnace_server.http.schemas import rollouts as bodies
from pinnace_server.service.whys import Whys
from tests.server.world import Server, TestedDevice

WAVES: dict[str, Any] = {"waves": [1, "rest"], "holdback": None}
DAMAGES = {
    "of a newer server": lambda rules: json.dumps(json.loads(rules) | {"quorum": 3}),
    "a strategy of a newer server": lambda rules: json.dumps(json.loads(rules) | {"strategy": {"kind": "weather"}}),
    "cut off": lambda rules: rules[: len(rules) // 2],
    "another kind of JSON": lambda _: "[1]",
    "a selector of a newer server": lambda rules: json.dumps(
        json.loads(rules) | {"cohort": json.loads(rules)["cohort"] | {"selector": "site near lyon"}}
    ),
    "a time zone that is gone": lambda rules: json.dumps(
        json.loads(rules)
        | {
            "windows": {
                "weekly": [{"days": ["mon"], "opens": "22:00", "closes": "23:00"}],
                "zone": "Europe/Atlantis",
            }
        }
    ),
}


@pytest.fixture
def server(tmp_path: Path, empty_database: Path) -> Iterator[Server]:
    shutil.copy(empty_database, tmp_path)
    made = Server(tmp_path)
    yield made
    made.close()


def damage(server: Server, rollout: Rollout, column: str, to: str) -> None:
    with closing(sqlite3.connect(server.folder / "pinnace.db")) as database, database:
        database.execute(f"UPDATE rollouts SET {column} = ? WHERE id = ?", (to, rollout.id))


def column(server: Server, rollout: Rollout, name: str) -> str:
    with closing(sqlite3.connect(server.folder / "pinnace.db")) as database:
        (found,) = database.execute(f"SELECT {name} FROM rollouts WHERE id = ?", (rollout.id,)).fetchone()
    return str(found)


class Two:
    """Four devices and two rollouts in waves: one over ``ours``, one over ``theirs``, which is then damaged."""

    def __init__(self, server: Server, runtimes: tuple[Runtime, ...] = (Runtime.ONNX,)) -> None:
        self.server = server
        first, second = server.version("1"), server.version("2", runtimes=runtimes)
        self.second = second
        self.ours = [server.device(f"ours-{n}", labels={"line": "ours"}) for n in range(2)]
        self.theirs = [server.device(f"theirs-{n}", labels={"line": "theirs"}) for n in range(2)]
        server.assign(first)
        for device in [*self.ours, *self.theirs]:
            device.commit()
        server.controller.tick()
        self.damaged = server.climb(second, **WAVES | {"cohort": "line=theirs"})
        self.good = server.climb(second, **WAVES | {"cohort": "line=ours"})
        self.under_way = [each for each in self.theirs if self._is_told(each)]

    def _is_told(self, device: TestedDevice) -> bool:
        entry = device.entry()
        return entry is not None and entry.release == self.second.release

    def damage(self, how: str = "of a newer server") -> None:
        damage(self.server, self.damaged, "rules", DAMAGES[how](column(self.server, self.damaged, "rules")))
        self.server.controller.tick()

    def told(self, *devices: TestedDevice) -> int:
        return sum(self._is_told(each) for each in devices)

    def pauses(self) -> list[Event]:
        return [each for each in self.server.events(EventKind.ROLLOUT_PAUSED) if each.rollout == self.damaged.id]


@pytest.mark.parametrize("how", DAMAGES)
def test_one_rollout_that_cannot_be_read_pauses_alone(server: Server, how: str) -> None:
    two = Two(server)
    two.damage(how)
    server.steering.promote(two.good.id, 1, reason="seen enough", actor="test")
    server.controller.tick()
    assert (two.told(*two.ours), two.told(*two.theirs)) == (2, 1)
    (event,) = two.pauses()
    assert event.severity is Severity.ERROR
    assert event.summary.startswith(f"rollout of digits 2: is paused: the policy of rollout {two.damaged.id} cannot be")


def test_it_is_told_once_whatever_the_server_does_meanwhile(server: Server) -> None:
    two = Two(server)
    two.damage()
    server.restart()
    for _ in range(3):
        server.clock.move(301)
        server.controller.tick()
    assert len(two.pauses()) == 1


def test_why_and_the_console_say_what_cannot_be_read(server: Server) -> None:
    two = Two(server)
    two.damage()
    about = Whys(server.world).of_rollout(two.damaged.id)
    assert (about.waiting_on, about.step.kind) == (WaitingOn.UNREADABLE, StepKind.MEND)
    assert "quorum" in about.why
    (waiting,) = [each for each in two.theirs if each not in two.under_way]
    (answer,) = Whys(server.world).of_device(waiting.id)
    assert (answer.waiting_on, answer.step.kind) == (WaitingOn.UNREADABLE, StepKind.MEND)
    assert "quorum" in answer.why
    reads = RolloutReads(server.world, server.steering)
    shown = reads.rollout(two.damaged.id)
    assert (shown.progress.need, shown.progress.strategy) == ("unreadable", "unreadable")
    assert "quorum" in shown.why.why
    assert shown.pause is None
    assert {row.need for row in reads.rollouts(RolloutQuery()).rows} == {"unreadable", ""}
    with server.store.read() as tables:
        (concern,) = waiting_for_a_person(tables, server.clock.now())
    assert (concern.severity, concern.text) == ("bad", "Rollout of digits 2 cannot be read")
    body = bodies.RolloutDetail.of_progress(server.rollouts.progress(two.damaged.id))
    assert (body.strategy, body.policy, body.waves) == ("unreadable", None, [])


def test_a_device_is_explained_that_was_dealt_variants_by_what_cannot_be_read(server: Server) -> None:
    two = Two(server, (Runtime.ONNX, Runtime.TFLITE))
    two.damage()
    for device in two.theirs:
        (answer,) = Whys(server.world).of_device(device.id)
        assert answer.variant
        (choice,) = server.fleet.device(device.id).variants
        assert choice.rule == ""


def test_its_devices_under_way_go_on_and_are_nobody_else_s(server: Server) -> None:
    two = Two(server)
    two.damage()
    third = server.version("3")
    other = server.climb(third, **WAVES | {"waves": ["rest"], "cohort": "line=theirs"})
    assert two.told(*two.under_way) == 1, "it stays with the rollout that told it"
    states = {str(each): member.state for each, member in server.members(other).items()}
    assert states[two.under_way[0].id] is MemberState.WAITING
    two.under_way[0].commit()
    server.controller.tick()
    assert server.members(two.damaged)[two.under_way[0].id].state is MemberState.COMMITTED
    assert server.rollout(two.damaged).state is RolloutState.ACTIVE


def test_a_budget_of_another_rollout_counts_them_as_under_way(server: Server) -> None:
    """Two of a site must stay well; one of three is under way in the rollout that cannot be read."""
    first, second = server.version("1"), server.version("2")
    devices = [server.device(f"lyon-{n}", labels={"site": "lyon", "n": str(n)}) for n in range(3)]
    server.assign(first)
    for device in devices:
        device.commit()
    server.controller.tick()
    damaged = server.climb(second, **WAVES | {"waves": ["rest"], "cohort": "n=0"})
    damage(server, damaged, "rules", "{")
    budgets = {"healthy_per_site_min": 2}
    server.climb(second, **WAVES | {"waves": ["rest"], "cohort": "n in (1, 2)", "budgets": budgets})
    assert [device.entry().release for device in devices] == [second.release, first.release, first.release]  # type: ignore[union-attr]
    devices[0].commit()
    server.controller.tick()
    assert sum(device.entry().release == second.release for device in devices) == 2  # type: ignore[union-attr]


def test_it_goes_on_when_it_can_be_read_again_and_somebody_resumes_it(server: Server) -> None:
    two = Two(server)
    rules = column(server, two.damaged, "rules")
    two.damage()
    with pytest.raises(Unreadable, match="quorum"):
        server.steering.resume(two.damaged.id, actor="test")
    damage(server, two.damaged, "rules", rules)
    server.controller.tick()
    assert Whys(server.world).of_rollout(two.damaged.id).waiting_on is WaitingOn.PAUSED
    server.steering.resume(two.damaged.id, actor="test")
    server.steering.promote(two.damaged.id, 1, reason="seen enough", actor="test")
    server.controller.tick()
    assert two.told(*two.theirs) == 2


@pytest.mark.parametrize("verb", ["cancel", "roll_back"])
def test_a_person_ends_it_all_the_same(server: Server, verb: str) -> None:
    two = Two(server)
    two.damage()
    getattr(server.rollouts, verb)(two.damaged.id, reason="nobody can read it", actor="test")
    server.controller.tick()
    entry = two.under_way[0].entry()
    assert entry is not None
    assert entry.intent is Intent.ROLLBACK


def test_what_was_worse_is_still_moved_back_where_another_cannot_be_read(server: Server) -> None:
    """The plain rule judges a plain assignment, whatever stands in the row of a rollout in waves."""
    two = Two(server)
    two.damage()
    plain = server.assign(server.version("3"), "line=ours")
    for device in two.ours:
        device.commit()
        device.answers(400, below=400)
    server.controller.tick()
    assert server.rollout(plain).state is RolloutState.HALTED


def test_telemetry_is_pruned_all_the_same(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    two = Two(server)
    two.damage()
    server.clock.move(3_601)
    caplog.clear()
    server.controller.tick()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


class TestPlainAssignment:
    def test_one_whose_terms_cannot_be_read_waits_and_goes_on_by_itself(self, server: Server) -> None:
        device, other = (server.device(name, labels={"at": name}) for name in ("camera", "door"))
        version = server.version()
        held = server.rollouts.assign(model=version.model, version=version.version, selected="at=camera", actor="test")
        terms = column(server, held, "policy")
        damage(server, held, "policy", terms[:-3])
        server.assign(version, "at=door")
        assert (device.entry(), other.entry() is not None) == (None, True)
        (answer,) = Whys(server.world).of_device(device.id)
        assert answer.waiting_on is WaitingOn.UNREADABLE
        assert "terms" in answer.why
        damage(server, held, "policy", terms)
        server.controller.tick()
        assert device.entry() is not None
        assert [event.kind for event in server.events() if event.rollout == held.id][-3:-1] == [
            EventKind.ROLLOUT_PAUSED,
            EventKind.ROLLOUT_RESUMED,
        ]

    def test_what_moves_devices_back_hangs_on_no_terms(self, server: Server) -> None:
        device = server.device()
        for name in ("1", "2"):
            server.assign(server.version(name))
            device.commit()
        server.controller.tick()
        made = server.rollouts.revert(device=device.id, model=server.version("1b").model, actor="test")
        damage(server, made, "policy", "")
        server.controller.tick()
        entry = device.entry()
        assert entry is not None
        assert entry.intent is Intent.ROLLBACK

    def test_an_intent_of_a_newer_server_is_carried_out_by_nobody(self, server: Server) -> None:
        device = server.device()
        version = server.version()
        made = server.rollouts.assign(model=version.model, version=version.version, selected="", actor="test")
        damage(server, made, "intent", "borrow")
        server.controller.tick()
        assert device.entry() is None
        assert Whys(server.world).of_rollout(made.id).waiting_on is WaitingOn.UNREADABLE

    @pytest.mark.parametrize("damaged", ["{", "[]", '{"backlog": "[]"}', '{"backlog": "[1, 2, 3, 4]"}'])
    def test_a_verdict_that_cannot_be_read_hides_no_rollout(self, server: Server, damaged: str) -> None:
        device = server.device()
        halted = server.assign(server.version())
        device.end(Outcome.FAILED)
        damage(server, halted, "verdict", damaged)
        other = server.assign(server.version("2"))
        assert other.id in {each.id for each in server.rollouts.listing(queries.RolloutQuery(page=Page(limit=10))).rows}
        assert device.entry() is not None
