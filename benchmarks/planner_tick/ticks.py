"""The kinds of tick, each as a server does it, and what each takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pinnace_server.domain import planner
from pinnace_server.domain.records import MemberState
from pinnace_server.service import closing, observing, ramps
from pinnace_server.service.condition import refreshed
from pinnace_server.service.controller import PLAN_ALL_EVERY_S
from planner_tick import fleet
from planner_tick.fleet import Place, Told
from planner_tick.server import Server, opened

HEARD, COMMITTED = 200, 50  # since the last tick
SECOND_S, LOOK_S = 1.0, 240.0  # gates of a wave of an hour look every three minutes
KIB = 1024  # in a MiB


class Took(NamedTuple):
    """By the clock, and of the processor: on a machine that is busy with others the first says little."""

    s: float
    cpu_s: float


def play(data: Path, devices: int, times: int, kind: str) -> dict[str, float]:
    """Tick for a while: the first tick after a start, then each kind so many times; its median counts."""
    with opened(data) as server:
        told = server.told(kind)
        saying = _speakers(fleet.places(devices, told.policy), told)
        kinds: dict[str, Callable[[], None]] = {
            "idle": lambda: server.clock.move(SECOND_S),
            "usual": lambda: _hear(server, told, saying),
            "gates": lambda: server.clock.move(LOOK_S),
            "everything": lambda: server.clock.move(PLAN_ALL_EVERY_S),
        }
        took = {"first": _tick(server)}
        for name, before in kinds.items():
            took[name] = sorted(_worst_of_two(server, before) for _ in range(times))[times // 2]
        assert not told.lease_s or _decided(server) >= times, "no site was decided about"
        return {name: each.s for name, each in took.items()} | {
            **{f"{name}_cpu": each.cpu_s for name, each in took.items()},
            "peak_mib": _peak_mib(),
        }


def begin(data: Path, devices: int, times: int, kind: str) -> dict[str, float]:
    """Let a wave begin with nobody under way: who moves is decided and written down in one tick, and signed 200 a tick.

    After a start, that is the second tick of a large fleet.
    """
    del times  # a wave begins once
    with opened(data) as server:
        told = server.told(kind)
        everybody = fleet.places(devices, told.policy)
        with server.world.store.write() as tables:
            for place in everybody:
                if place.wave == fleet.UNDER_WAY_WAVE and place.state is not MemberState.WAITING:
                    fleet.put(tables, told, fleet.waiting_again(place))
            for wave in fleet.waves_of(everybody, told.policy):
                if wave.number == fleet.UNDER_WAY_WAVE:
                    tables.rollouts.save_wave(fleet.SECOND, replace(wave, started_at_s=None))
        whole_s, _ = _tick(server)
        if not _unsigned(server):
            whole_s = _after(server, lambda: server.clock.move(SECOND_S)).s
        executed_s, ticks, signed_s = server.controller.executed_s, 1, 0.0
        while _unsigned(server):
            ticks, signed_s = ticks + 1, signed_s + _after(server, lambda: server.clock.move(SECOND_S)).s
        return {
            "decided": whole_s - executed_s,
            "executed": executed_s,
            "signed": signed_s,
            "ticks": ticks,
            "peak_mib": _peak_mib(),
            "sent": server.broker.sent,
        }


def plan(data: Path, devices: int, times: int, kind: str) -> dict[str, float]:
    """Plan every device of the fleet by ``planner.plan`` alone."""
    del devices, times, kind
    with opened(data) as server, server.world.store.read() as tables:
        rollout = tables.rollouts.get(fleet.SECOND)
        assert rollout is not None
        members = tables.rollouts.members(rollout.id)
        observed = observing.observe(tables, rollout, members)
        look = ramps.look(tables, rollout, server.clock.now())
        assert look is not None
        policy = look.bound(observing.policy_of(tables, rollout, members), observed, server.clock.now())
        began_s = time.perf_counter()
        planner.plan(policy, observed, None, server.clock.now())
        return {"plan": time.perf_counter() - began_s}


def _tick(server: Server) -> Took:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    server.controller.tick()
    return Took(time.perf_counter() - began_s, time.process_time() - cpu_s)


def _after(server: Server, before: Callable[[], None]) -> Took:
    before()
    return _tick(server)


def _worst_of_two(server: Server, before: Callable[[], None]) -> Took:
    """Tick twice: of a large fleet the round is put off for a tick where gates look in the first one."""
    return max(_after(server, before), _after(server, lambda: server.clock.move(SECOND_S)))


def _unsigned(server: Server) -> bool:
    with server.world.store.read() as tables:
        return bool(tables.assignments.unsigned(1))


def _decided(server: Server) -> int:
    with server.world.store.read() as tables:
        return sum(each.decided_at_s > fleet.NOW_S for each in tables.rollouts.site_rulings(fleet.SECOND))


def _speakers(everybody: Sequence[Place], told: Told) -> Iterator[tuple[list[Place], list[Place]]]:
    """Yield, again and again, others that are heard and some of those under way that get further: so many commit, or
    are the last of their site that are prepared, so that as many are told that it commits."""
    further = fleet.last_of_its_site if told.lease_s else _is_under_way
    under_way = iter([place for place in everybody if further(place)])
    others = iter([place for place in everybody if not further(place) and place.heard_s])
    n = COMMITTED // fleet.A_SITE if told.lease_s else COMMITTED
    while True:
        yield list(islice(others, HEARD - n)), list(islice(under_way, n))


def _is_under_way(place: Place) -> bool:
    return place.state is MemberState.ASSIGNED


def _hear(server: Server, told: Told, saying: Iterator[tuple[list[Place], list[Place]]]) -> None:
    """Write what 200 devices say, as ``service.outcomes`` does, and tell everybody."""
    server.clock.move(SECOND_S)
    now = server.clock.now()
    reporting, further = next(saying)
    with server.world.store.write() as tables:
        for place in (*reporting, *further):
            device = tables.devices.get(place.device)
            assert device is not None
            if place in further and told.lease_s:
                fleet.prepare(tables, told, place)
            elif place in further:
                closing.close(tables, fleet.commit(tables, told, place, now), now)
            tables.devices.save(refreshed(tables, replace(device, seen_at_s=now, health_at_s=now)))
    server.world.changes.notify(f"device:{place.device}" for place in (*reporting, *further))


def _peak_mib() -> float:
    """Return the most that this process ever had in memory; ``getrusage`` tells its parent's where that had more."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / KIB, 1)
    raise LookupError("VmHWM")
