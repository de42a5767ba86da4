"""A run from beginning to end: enrol, connect, assign, commit, report, come and go, finish, and look at the books.

It ends by itself: a stage is over when it is done, or when nothing has got on for long.
"""

from __future__ import annotations

import json
import math
import random
import resource
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pinnace_contract.ids import DeviceId
from pinnace_server.cli.api import Api, CallFailed
from pinnace_sim.errors import SimError
from pinnace_sim.fleet import books, model, profiles
from pinnace_sim.fleet.enrolment import Door
from pinnace_sim.fleet.orders import Assigned, ComeAndGo, Connect, Finish, Share
from pinnace_sim.fleet.own_server import Where
from pinnace_sim.fleet.processes import Crew, crew
from pinnace_sim.fleet.summary import Summary, percentiles
from pinnace_sim.fleet.tally import Progress
from pinnace_sim.fleet.usage import Usage
from pinnace_sim.links import Course

LOOK_EVERY_S: Final = 1.0
STUCK_S: Final = 120.0  # nothing got on for so long, beside the longest darkness: the stage is over as it is
CONNECTS_A_S: Final = 200.0  # a broker's handshakes, and the server's first words with each device
ASSIGN_AT_ONCE: Final = 256  # devices that the API takes by name
DEVICES_MAX: Final = 10_000  # of one process: a claim token is for no more
FILES_BESIDE: Final = 500  # descriptors of broker and server beside the devices' connections
MODEL: Final = "fleet"
LABEL: Final = "pinnace-sim-fleet"


class TooMany(SimError):
    """More devices than this machine has descriptors for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    devices: int
    profile: str = "mixed"
    minutes: float = 2.0
    report_every_s: int = 60
    model_bytes: int = 1_000_000
    processes: int = 2
    seed: int = 1
    connects_a_s: float = CONNECTS_A_S
    courses: tuple[Course, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is to show while it runs."""

    stage: str
    of: int
    progress: Progress
    costs: dict[str, Usage]


def raise_file_limit(devices: int) -> None:
    """Let this process and its children hold a connection for every device.

    Raises:
        TooMany
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (resource.RLIM_INFINITY, -1) and devices + FILES_BESIDE > hard:
        raise TooMany(f"{devices} devices need {devices + FILES_BESIDE} open files; `ulimit -Hn` says {hard}")
    if hard not in (resource.RLIM_INFINITY, -1):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def play(wish: Wish, where: Where, shown: Callable[[Seen], None]) -> Summary:
    """Run a fleet against a server that is up.

    Raises:
        SimError: the fleet cannot be run; what was lost is no error, but in the summary.
    """
    try:
        return _Run(wish, where, shown).play()
    except CallFailed as error:
        raise SimError(f"{error.message} {error.hint}".strip()) from error


class _Run:
    def __init__(self, wish: Wish, where: Where, shown: Callable[[Seen], None]) -> None:
        self._wish, self._where, self._shown = wish, where, shown
        self._api = Api(where.url, where.token)
        self._profile = profiles.named(wish.profile)
        self._name = f"sim-{secrets.token_hex(3)}"
        self._seconds: dict[str, float] = {}
        self._stage = ""
        self._assigned = False
        darkest_s = max((course.longest_dark_s for course in wish.courses), default=0.0)
        self._patience_s = STUCK_S + (darkest_s if darkest_s < math.inf else 0.0)

    def play(self) -> Summary:
        version, model_bytes = self._register()
        shares = self._shares(model_bytes)
        with crew(shares) as team:
            self._costs = {"simulator": Usage(team.pids)}
            for name, pid in (("server", self._where.pid), ("broker", self._where.broker_pid)):
                if pid:
                    self._costs[name] = Usage((pid,))
            self._stages(team, version)
            return self._summed(team, model_bytes, version)

    def _stages(self, team: Crew, version: str) -> None:
        wish = self._wish
        within_s = max(1.0, wish.devices / wish.connects_a_s)
        self._until(team, "enrol", lambda now: now.enrolled >= wish.devices, lambda now: now.enrolled)
        team.tell(Connect(within_s=within_s))
        self._until(
            team,
            "connect",
            lambda now: now.connected + now.asleep + now.dark >= wish.devices,
            lambda now: now.connected,
        )
        began_s = time.monotonic()
        self._api.post("/assignments", self._assignment(version) | {"selector": f"{LABEL}={self._name}"})
        team.tell(Assigned(at_s=began_s))
        self._until(
            team, "commit", lambda now: now.committed >= wish.devices, lambda now: now.committed + now.acknowledged
        )
        report_s = wish.minutes * 60
        team.tell(ComeAndGo(within_s=report_s))
        self._report(team, version, report_s)
        team.tell(Finish())
        self._until(team, "finish", lambda _: team.is_over, lambda now: now.finished + now.acknowledged)
        team.end()

    def _until(
        self, team: Crew, stage: str, done: Callable[[Progress], bool], got_on: Callable[[Progress], int]
    ) -> None:
        began_s = moved_s = time.monotonic()
        before = -1
        self._stage = stage
        while not done(team.progress) and time.monotonic() - moved_s < self._patience_s:
            team.listen(LOOK_EVERY_S / 4)
            if got_on(team.progress) != before:
                before, moved_s = got_on(team.progress), time.monotonic()
            self._look(team)
        self._seconds[stage] = time.monotonic() - began_s

    def _report(self, team: Crew, version: str, seconds: float) -> None:
        began_s = time.monotonic()
        self._stage = "report"
        waiting: list[DeviceId] = []
        while time.monotonic() - began_s < seconds:
            team.listen(LOOK_EVERY_S)
            waiting += team.joined()
            while waiting:
                some, waiting = waiting[:ASSIGN_AT_ONCE], waiting[ASSIGN_AT_ONCE:]
                at_s = time.monotonic()
                self._api.post("/assignments", self._assignment(version) | {"devices": some})
                team.tell(Assigned(at_s=at_s, devices=tuple(some)))
            self._look(team)
        self._seconds["report"] = time.monotonic() - began_s

    def _look(self, team: Crew) -> None:
        for each in self._costs.values():
            each.look()
        self._shown(Seen(stage=self._stage, of=self._wish.devices, progress=team.progress, costs=self._costs))

    # --- the server --------------------------------------------------------------------------------------------------

    def _register(self) -> tuple[str, int]:
        """Register a model of our own; one name for all runs, a version for each."""
        made = model.drawn(self._wish.model_bytes, self._wish.seed)
        self._api.post("/models", {"name": MODEL, "description": "drawn by pinnace-sim fleet"})
        with tempfile.TemporaryDirectory(prefix="pinnace-fleet-") as folder:
            for digest, content in made.files.items():
                path = Path(folder) / digest
                path.write_bytes(content)
                self._api.upload(path)
        version = self._name
        draft: dict[str, Any] = json.loads(made.draft.to_json())
        self._api.post(f"/models/{MODEL}/drafts", {"version": version, "draft": draft})
        return version, made.model_bytes

    def _shares(self, model_bytes: int) -> list[Share]:
        wish, profile = self._wish, self._profile
        chance = random.Random(wish.seed)
        kinds = profile.drawn(wish.devices, chance)
        joining = profile.drawn(round(wish.devices * profile.joins), chance)
        leaves = round(wish.devices * profile.leaves)
        parts, late = _dealt(kinds, wish.processes), _dealt(joining, wish.processes)
        goes = _dealt([None] * leaves, wish.processes)
        shares = []
        for number, (part, more) in enumerate(zip(parts, late, strict=True)):
            uses = len(part) + len(more)
            if uses > DEVICES_MAX:
                raise TooMany(f"{uses} devices in one process are more than {DEVICES_MAX}; take more --processes")
            claim = {"uses": max(1, uses), "note": f"fleet {self._name}", "labels": {LABEL: self._name}}
            token = self._api.post("/claim-tokens", claim)["token"]
            shares.append(
                Share(
                    number=number,
                    seed=secrets.randbits(48),  # keys must not come again on a server that has known them
                    door=Door(server=self._where.url, token=token),
                    prefix=self._name,
                    kinds=tuple(part),
                    joining=tuple(more),
                    leaves=len(goes[number]),
                    report_every_s=wish.report_every_s,
                    model_bytes=model_bytes,
                    courses=wish.courses[number:] + wish.courses[:number],
                )
            )
        return shares

    def _assignment(self, version: str) -> dict[str, object]:
        return {"model": MODEL, "version": version, "trial": {"mode": "none"}}

    # --- the end -----------------------------------------------------------------------------------------------------

    def _summed(self, team: Crew, model_bytes: int, version: str) -> Summary:
        accounts = [account for each in team.accounts for account in each.accounts]
        receipts = self._api.all("/receipts", model=MODEL, version=version, outcome="committed")
        found = books.compared(accounts, receipts, self._ranges({account.device for account in accounts}))
        samples = [each.samples for each in team.accounts]
        return Summary(
            profile=self._profile.name,
            processes=self._wish.processes,
            model_bytes=model_bytes,
            report_every_s=self._wish.report_every_s,
            seconds=self._seconds,
            percentiles={
                "connect": percentiles([s for each in samples for s in each.connect_s]),
                "assigned_to_committed": percentiles([s for each in samples for s in each.commit_s]),
                "report_to_acknowledged": percentiles([s for each in samples for s in each.acknowledge_s]),
            },
            progress=team.progress,
            books=found,
            costs={name: each.tree() for name, each in self._costs.items()},
            ends=dict(sum((Counter(each.ends) for each in team.accounts), Counter())),
            problems=tuple(problem for each in team.accounts for problem in each.problems),
        )

    def _ranges(self, devices: set[DeviceId]) -> list[dict[str, Any]]:
        return [each for each in self._api.all("/report-ranges") if each["device"] in devices]


def _dealt(things: Sequence[Any], hands: int) -> list[list[Any]]:
    return [list(things[number::hands]) for number in range(hands)]
