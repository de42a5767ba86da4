"""Worlds are played to the byte as before, by nothing but their plan, and what they claim to cover happens."""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pinnace_agent.core.device import CONNECTIONS_RESERVED
from pinnace_contract import topics
from pinnace_contract.ids import CommandId, DeviceId, StatementId
from pinnace_server.errors import SignatureInvalid
from pinnace_sim import chance, cli, explore, network, replay, shrink, stories
from pinnace_sim.checks import Rule, Violation
from pinnace_sim.errors import BadLog, NothingBroken
from pinnace_sim.faults import DELIBERATE, EVERYTHING, NONE, FaultKind, Incident
from pinnace_sim.links import LinkRow
from pinnace_sim.network import Network
from pinnace_sim.plan import Nature, Plan
from pinnace_sim.schedule import Schedule
from pinnace_sim.traces import Trace
from pinnace_sim.world import World

pytestmark = pytest.mark.slow

SHORT = {"devices": 2, "hours": 3.0}
SEEDS = range(1, 7)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_with_everything_that_can_go_wrong_breaks_no_rule(seed: int) -> None:
    outcome = World(stories.one_update(seed)).run()
    assert outcome.violation is None, f"seed {seed}: {outcome.violation}"


def test_a_world_where_nothing_goes_wrong_brings_every_version_where_it_belongs() -> None:
    for seed, nature in enumerate(Nature, 1):
        plan = _of_nature(stories.one_update(seed, faults=NONE, **SHORT), nature)
        assert World(plan).run().violation is None, nature


def _of_nature(plan: Plan, nature: Nature) -> Plan:
    tree = plan.tree()
    for order in tree["orders"]:
        if order["version"] == "2":
            order["nature"] = nature
    return Plan.from_tree(json.loads(json.dumps(tree)))


# --- the same seed, the same log -------------------------------------------------------------------------------------


def test_two_runs_write_the_same_log() -> None:
    first, second = (World(stories.one_update(3, **SHORT), keeps_log=True).run() for _ in range(2))
    assert first.lines == second.lines
    assert first.digest == second.digest


def test_two_processes_with_two_hash_seeds_write_the_same_log() -> None:
    digests = {_digest_in_a_process(hash_seed) for hash_seed in ("1", "2")}
    assert digests == {World(stories.one_update(5, **SHORT)).run().digest}


def _digest_in_a_process(hash_seed: str) -> str:
    code = (
        "from pinnace_sim import stories; from pinnace_sim.world import World;"
        "print(World(stories.one_update(5, devices=2, hours=3.0)).run().digest)"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


def test_a_summary_says_of_each_fault_that_is_drawn_how_often_it_happened(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["explore", "--seeds", "1", "--devices", "1", "--hours", "1", "--processes", "1", "--no-logs"]
    assert cli.main(asked) == 0
    first, heading, *counted, verdict = capsys.readouterr().out.splitlines()
    assert (first.split(",")[0], verdict) == ("1 worlds", "no rule was broken")
    assert heading == "what went wrong in them, and how often:"
    assert {line.split()[0] for line in counted} == {kind.value for kind in FaultKind} - {*DELIBERATE}


def test_another_seed_writes_another_log() -> None:
    digests = {World(stories.one_update(seed, **SHORT)).run().digest for seed in (1, 2)}
    assert len(digests) == 2


def test_the_digest_is_the_same_whether_the_log_is_kept_or_not() -> None:
    plan = stories.one_update(2, **SHORT)
    assert World(plan).run().digest == World(plan, keeps_log=True).run().digest


FORBIDDEN: list[tuple[object, str]] = [
    (time, "sleep"),
    (time, "time"),
    (time, "time_ns"),
    (time, "monotonic"),
    (time, "monotonic_ns"),
    (time, "perf_counter"),
    (secrets, "token_hex"),
    (secrets, "token_bytes"),
    (os, "urandom"),
    (uuid, "uuid4"),
    (random, "random"),
    (random, "choice"),
    (random, "uniform"),
    (random, "randrange"),
]


def test_nobody_in_a_world_looks_at_a_clock_or_rolls_the_global_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(stories.one_update(4, **SHORT))
    touched: list[str] = []

    def trap(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def used(*arguments: object, **named: object) -> object:
            if _in_a_world():
                touched.append(f"{name} from {_caller()}")
            return real(*arguments, **named)

        return used

    for module, name in FORBIDDEN:
        monkeypatch.setattr(module, name, trap(f"{module.__name__}.{name}", getattr(module, name)))  # type: ignore[attr-defined]
    assert world.run().violation is None
    assert touched == []


def _in_a_world() -> bool:
    """Other threads of the test run have clocks of their own."""
    frame = sys._getframe(2)
    return "pinnace" in frame.f_code.co_filename


def _caller() -> str:
    frame = sys._getframe(2)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def test_simulated_keys_come_from_the_seed_and_sign_the_same_way_each_time() -> None:
    one, again, other = chance.DeviceKey(1, "a"), chance.DeviceKey(1, "a"), chance.DeviceKey(2, "a")
    assert one.keyid == again.keyid != other.keyid
    assert one.sign(b"x") == again.sign(b"x")
    assert one.signing_request() == again.signing_request()
    keys, same = chance.server_keys(1), chance.server_keys(1)
    assert {name: key.public_key.keyid for name, key in keys.items()} == {
        name: key.public_key.keyid for name, key in same.items()
    }


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_signature_that_is_known_holds_for_its_key_and_bytes_alone() -> None:
    key, other = chance.DeviceKey(1, "camera"), chance.DeviceKey(1, "another")
    keys = chance.KnownKeys()
    signature = key.sign(b"said")
    (_, pem), (_, others_pem) = keys.of_request(key.signing_request()), keys.of_request(other.signing_request())
    keys.check(pem, b"said", signature)
    for public, said, signed in ((pem, b"unsaid", signature), (others_pem, b"said", signature), (pem, b"said", b"0")):
        with pytest.raises(SignatureInvalid):
            keys.check(public, said, signed)


def test_a_device_without_a_network_hardly_writes() -> None:
    plan = replace(
        stories.one_update(1, devices=1, hours=12.0, faults=NONE),
        incidents=(Incident(at_s=3_600.0, kind=FaultKind.PARTITION, who="device-000", lasts_s=36_000.0),),
    )
    world = World(plan, keeps_log=True)
    outcome = world.run()
    assert outcome.violation is None
    tries = sum('"what":"disconnected"' in line for line in outcome.lines)
    run = world.devices["device-000"].run
    assert run is not None
    assert tries > 200
    assert run.daemon.state.connection < tries + 2 * CONNECTIONS_RESERVED
    assert _saves(world) < tries / 2


def _saves(world: World) -> int:
    data = world.devices["device-000"].disk.read("state.json", 0, 1 << 20)
    assert data is not None
    return int(json.loads(data)["saves"])


def test_every_kind_of_fault_happens_in_the_worlds_that_claim_to_cover_it() -> None:
    counts: Counter[str] = Counter()
    for seed in (*range(1, 9), 11):  # damage is rare: of chunks alone, which are few
        counts += World(stories.one_update(seed, hours=30.0)).run().counts
    assert {kind for kind in FaultKind if not counts[kind]} == DELIBERATE


def test_a_fault_that_is_taken_out_leaves_the_draws_of_the_others() -> None:
    names = ["a", "b"]
    fewer = tuple(rate for rate in EVERYTHING.rates if rate[0] is not FaultKind.PARTITION)
    without = EVERYTHING.__class__(messages=EVERYTHING.messages, rates=fewer).incidents(1, names, 86_400.0)
    with_it = EVERYTHING.incidents(1, names, 86_400.0)
    assert [each for each in with_it if each.kind is not FaultKind.PARTITION] == list(without)


def test_messages_go_where_the_contracts_filters_send_them() -> None:
    device = DeviceId("camera-1")
    found: list[topics.Topic] = [
        *(topics.UpTopic(device=device, channel=channel) for channel in topics.Up),
        *(topics.DownTopic(device=device, channel=channel) for channel in topics.Down),
        topics.CommandTopic(device=device, command=CommandId("c")),
        topics.ResultTopic(device=device, command=CommandId("c")),
        topics.StatementTopic(statement=StatementId("s")),
        topics.RootTopic(repository=topics.Repository.IMAGE, version=1),
        topics.TimestampTopic(),
        topics.MetadataTopic(role="targets", version=1),
    ]
    for topic in found:
        aim = network._subscriber(str(topic))
        assert (aim == network.SERVER) is _matches(topics.server_filters(), str(topic))
        assert (aim in (device, "")) is _matches(topics.device_filters(device), str(topic))


def _matches(filters: tuple[str, ...], topic: str) -> bool:
    return any(topic.startswith(each.removesuffix("#")) for each in filters)


def test_what_is_due_at_one_moment_happens_in_the_order_it_was_asked_for() -> None:
    schedule, seen = Schedule(), []
    for number in range(5):
        schedule.at(1.0, lambda number=number: seen.append(number))  # type: ignore[misc]
    schedule.at(0.5, lambda: seen.append(-1)).cancel()
    schedule.run_until(2.0)
    assert (seen, schedule.now_s) == ([0, 1, 2, 3, 4], 2.0)


# --- logs ------------------------------------------------------------------------------------------------------------


def test_a_plan_comes_back_from_its_log(tmp_path: Path) -> None:
    plan = stories.many_updates(1, devices=2, hours=24.0)
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"plan": plan.tree()}))
    assert replay.plan_of(path) == plan


def test_a_log_is_played_again_line_by_line(tmp_path: Path) -> None:
    path = explore.written(explore.story("one", 2, 2.0), 7, tmp_path)
    played = replay.replay(path)
    assert played.differs_at is None
    lines = path.read_text().splitlines()
    lines[4] = lines[4].replace('"n":4', '"n":5')
    path.write_text("\n".join(lines))
    assert replay.replay(path).differs_at == 5


@pytest.mark.parametrize("content", ["", "no json", "{}", '{"plan": {"seed": 1}}', '{"plan": []}'])
def test_a_file_that_is_no_log_is_said_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(BadLog, match=r"expected a log"):
        replay.plan_of(path)


def test_a_broken_rule_is_shrunk_to_what_is_needed_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that any power cut breaks: what is left of a day of faults is one device and one power cut."""
    real = World._happen

    def happen(world: World, incident: object) -> None:
        real(world, incident)  # type: ignore[arg-type]
        if world.counts[FaultKind.POWER_CUT]:
            raise Violation(Rule.NO_MODEL, "device-000", "there was a power cut")

    monkeypatch.setattr(World, "_happen", happen)
    plan = stories.one_update(1, devices=2, hours=6.0)
    small = shrink.shrink(plan).plan
    assert [each.kind for each in small.incidents] == [FaultKind.POWER_CUT]
    assert (len(small.devices), small.orders) == (1, ())
    assert small.hours < plan.hours


def test_a_broken_rule_is_shrunk_without_the_rows_of_links_that_it_does_not_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rule that a dark line breaks: of a day of rows one is left, which is dark."""
    real = Network.darken

    def darken(network: Network, name: str, seconds: float, *, up: bool, down: bool) -> None:
        real(network, name, seconds, up=up, down=down)
        raise Violation(Rule.NO_MODEL, "device-000", "it was dark")

    monkeypatch.setattr(Network, "darken", darken)
    rows = tuple(
        LinkRow(at_s=600.0 * n, device="a", up_bytes_s=1e5 * (n % 3), down_bytes_s=1e6 * (n % 3)) for n in range(1, 18)
    )
    plan = Trace(rows=rows).onto(stories.one_update(1, devices=1, hours=3.0, faults=NONE))
    small = shrink.shrink(plan).plan
    assert [row.carries for row in small.links] == [False]


def test_a_disk_that_takes_nothing_for_weeks_ends_in_words_and_not_in_a_loop() -> None:
    full = Incident(at_s=3_600.0, kind=FaultKind.DISK_FULL, who="device-000", lasts_s=15 * 86_400.0)
    plan = replace(stories.one_update(1, devices=1, hours=80.0, faults=NONE), incidents=(full,))
    outcome = World(plan, keeps_log=True).run()
    stuck = [line for line in outcome.lines if '"what":"stuck"' in line]
    assert len(stuck) >= 2, "after a day it is tried again"
    assert outcome.violation is None, "when the disk has room again, everything comes about"


def test_there_is_nothing_to_shrink_where_nothing_is_broken() -> None:
    with pytest.raises(NothingBroken):
        shrink.shrink(stories.one_update(1, faults=NONE, **SHORT))


def test_a_world_leaves_the_programs_log_as_it_was() -> None:
    logger = logging.getLogger("pinnace_server")
    before = logger.level
    World(stories.one_update(1, devices=1, hours=0.2, faults=NONE)).run()
    assert logger.level == before
