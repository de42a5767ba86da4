"""Deliberate bugs, and whether the simulator finds them: the proof that its checks can see.

Each is a patch of the product's source, applied to a copy of it in a folder of its own, where worlds are then played;
no seam is made for it anywhere. A mutation whose text is not in the source any more is an error, not a pass.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pinnace_sim.checks import Rule
from pinnace_sim.errors import SimError

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = ("agent", "converters", "server", "firmware-sim")


class Unpatchable(SimError):
    """The source is not what a mutation was written for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One place of a patch: ``old`` stands exactly once in the file."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One deliberate bug, within how many seeds it is found, and a seed that is known to find it.

    ``rule`` is the one that is about it, and finds it there: one that trips over what follows from it is not enough.
    ``story``, ``devices`` and ``hours`` say in which worlds.
    """

    name: str
    what: str
    edits: tuple[Edit, ...]
    rule: Rule
    seeds: int
    found_by: int = 1
    story: str = "one"
    devices: int = 3
    hours: float = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """What became of a mutation. ``rule`` is empty where no world broke one."""

    mutation: Mutation
    seed: int
    rule: str
    text: str


def _of_waves(name: str, what: str, *edits: Edit, rule: Rule, seeds: int, found_by: int = 1) -> Mutation:
    """Return a bug that is looked for in worlds with rollouts in waves."""
    return Mutation(
        name=name,
        what=what,
        edits=edits,
        rule=rule,
        seeds=seeds,
        found_by=found_by,
        story="waves",
        devices=5,
        hours=8.0,
    )


def _of_told(name: str, what: str, *edits: Edit, rule: Rule, seeds: int, found_by: int = 1) -> Mutation:
    """Return a bug that is looked for where applications tell what came of answers."""
    return replace(_of_waves(name, what, *edits, rule=rule, seeds=seeds, found_by=found_by), story="told")


def _edit(path: str, old: str, new: str) -> Edit:
    return Edit(path=path, old=old, new=new)


MUTATIONS: Final = (
    Mutation(
        name="skip-fsync",
        what="a file is renamed to its name before its content is durable",
        edits=(_edit("agent/pinnace_agent/store_port.py", "    files.sync(new)\n", ""),),
        rule=Rule.AGENT_FAILED,
        seeds=10,
    ),
    Mutation(
        name="skip-directory-fsync",
        what="a name is believed before it is durable",
        edits=(_edit("agent/pinnace_agent/store_port.py", "    files.sync_dir(folder)\n", ""),),
        rule=Rule.FORGOTTEN,
        seeds=10,
    ),
    Mutation(
        name="blob-not-durable",
        what="a fetched blob gets its name before its content is durable",
        edits=(_edit("agent/pinnace_agent/store_blobs.py", "    files.sync(part)\n", ""),),
        rule=Rule.NO_MODEL,
        seeds=40,
    ),
    Mutation(
        name="save-after-acting",
        what="effects are carried out before the state that they follow from is saved",
        edits=(
            _edit(
                "agent/pinnace_agent/daemon.py",
                "        if change.save and not self._save(after):\n            return\n        self.state = after\n",
                "        self.state = after\n",
            ),
            _edit(
                "agent/pinnace_agent/daemon.py",
                "        for effect in change.effects:\n            self._act(effect)\n",
                "        for effect in change.effects:\n            self._act(effect)\n"
                "        if change.save and not self._save(after):\n            return\n",
            ),
        ),
        rule=Rule.NOT_SAVED_FIRST,
        seeds=5,
    ),
    Mutation(
        name="accept-equal-generation",
        what="a set of the generation that is here already is taken as a new one",
        edits=(
            _edit(
                "agent/pinnace_agent/core/device.py",
                "    if wanted.generation == state.generation:\n",
                "    if wanted.generation == state.generation == -1:\n",
            ),
            _edit(
                "agent/pinnace_agent/core/device.py",
                "entry.generation > slot.generation",
                "entry.generation >= slot.generation",
            ),
        ),
        rule=Rule.TOO_MANY_STARTS,
        seeds=5,
    ),
    Mutation(
        name="accept-older-generation",
        what="a set of an older generation, and older metadata, are taken as if they were new",
        edits=(
            _edit(
                "agent/pinnace_agent/core/device.py",
                "    if wanted.generation < state.generation:\n",
                "    if wanted.generation < 0:\n",
            ),
            _edit(
                "agent/pinnace_agent/core/device.py",
                "entry.generation > slot.generation",
                "entry.generation != slot.generation",
            ),
            _edit("agent/pinnace_agent/trust.py", "    if found < believed:\n", "    if found < 0:\n"),
        ),
        rule=Rule.BACKWARDS,
        seeds=20,
    ),
    Mutation(
        name="commit-before-receipt",
        what="the commit is saved first, and its receipt with the next save",
        edits=(
            _edit(
                "agent/pinnace_agent/daemon.py",
                "self._save(after)",
                "self._save(replace(after, outbox=before.outbox))",
            ),
        ),
        rule=Rule.COMMIT_WITHOUT_RECEIPT,
        seeds=5,
    ),
    Mutation(
        name="floor-before-commit",
        what="the floor rises when a candidate passes its self-test",
        edits=(
            _edit(
                "agent/pinnace_agent/core/proof.py",
                "    slot = moved(slot, Phase.TRIAL, replace(work, shadow=None, trial=Trial()))\n",
                "    assert work.candidate is not None\n"
                "    slot = replace(slot, floor=max(slot.floor, work.candidate.epoch))\n"
                "    slot = moved(slot, Phase.TRIAL, replace(work, shadow=None, trial=Trial()))\n",
            ),
        ),
        rule=Rule.FLOOR,
        seeds=40,
        found_by=12,
    ),
    Mutation(
        name="forget-device-binding",
        what="a set that was signed for another device is taken",
        edits=(
            _edit("agent/pinnace_agent/trust.py", "    if assignments.device != device:\n", "    if False:\n"),
            _edit(
                "agent/pinnace_agent/trust.py",
                "    if assignments.incarnation not in (None, incarnation):\n",
                "    if False:\n",
            ),
            _edit(
                "agent/pinnace_agent/core/device.py", "    if wanted.device != around.host.device:\n", "    if False:\n"
            ),
            _edit(
                "agent/pinnace_agent/core/device.py",
                "    if wanted.incarnation is not None and wanted.incarnation != state.incarnation:\n",
                "    if False:\n",
            ),
        ),
        rule=Rule.NOT_ISSUED,
        seeds=60,
        found_by=13,
    ),
    Mutation(
        name="drop-an-acknowledgement",
        what="a receipt that was sent before is kept, and not acknowledged again",
        edits=(
            _edit(
                "server/pinnace_server/service/ingest.py",
                "        self._outcomes.receipt(receipt, sealed)\n",
                "        with self._world.store.read() as tables:\n"
                "            if tables.receipts.get(receipt.id) is not None:\n"
                "                return\n"
                "        self._outcomes.receipt(receipt, sealed)\n",
            ),
        ),
        rule=Rule.RECEIPT_LOST,
        seeds=100,
        found_by=41,
    ),
    Mutation(
        name="acknowledge-before-commit",
        what="a report or receipt is acknowledged before it is in the database for good",
        edits=(
            _edit(
                "server/pinnace_server/service/ingest.py",
                "        self._after.append(lambda: self._world.publisher.publish(topic, sealed))\n",
                "        self._world.publisher.publish(topic, sealed)\n",
            ),
        ),
        rule=Rule.REPORT_LOST,
        seeds=100,
        found_by=13,
    ),
    Mutation(
        name="forget-sent-reports",
        what="a report leaves the spool when it was sent, not when it was acknowledged",
        edits=(
            _edit(
                "agent/pinnace_agent/reporting.py",
                "            self._resend.sent(name, awake_s)\n",
                "            self._resend.sent(name, awake_s)\n"
                "            sent = by_name[name]\n"
                "            self._spool.acknowledge(\n"
                "                (ReportRange(boot=sent.boot, seq_from=sent.seq_from, seq_to=sent.seq_to),)\n"
                "            )\n",
            ),
        ),
        rule=Rule.REPORT_LOST,
        seeds=10,
        found_by=5,
    ),
    Mutation(
        name="count-a-report-twice",
        what="a report that came before is merged again",
        edits=(
            _edit(
                "server/pinnace_server/service/outcomes.py",
                "            if coverage is Coverage.KNOWN:\n                return True\n",
                "            if coverage is Coverage.KNOWN:\n"
                "                for minute in minutes:\n"
                "                    tables.reports.merge(minute)\n"
                "                return True\n",
            ),
        ),
        rule=Rule.MISCOUNTED,
        seeds=10,
    ),
    Mutation(
        name="give-back-starts-on-a-crash",
        what="a start is not used up by a candidate that takes the device down with it",
        edits=(
            _edit(
                "agent/pinnace_agent/core/starts.py",
                "    return replace(work, left=work.left - 1, start=Start(boot=around.host.boot))\n",
                "    return replace(work, start=Start(boot=around.host.boot))\n",
            ),
            _edit(
                "agent/pinnace_agent/core/health.py",
                "    if crashes < crashes_max:\n",
                "    if crashes < 10 * crashes_max:\n",
            ),
        ),
        rule=Rule.TOO_MANY_STARTS,
        seeds=20,
    ),
    Mutation(
        name="keep-a-bad-release",
        what="a release that failed here is remembered among the last good ones",
        edits=(
            _edit(
                "agent/pinnace_agent/core/ending.py",
                "    return with_bad(\n        slot,\n        Bad(\n",
                "    return with_bad(\n"
                "        replace(slot, last_good=(candidate.servable, *slot.last_good)[:LAST_GOOD_MAX]),\n"
                "        Bad(\n",
            ),
        ),
        rule=Rule.BAD_KEPT,
        seeds=10,
        found_by=2,
    ),
    Mutation(
        name="publish-before-the-plan-is-stored",
        what="a set is sent inside of the transaction that plans it",
        edits=(
            _edit(
                "server/pinnace_server/service/executing.py",
                "                save_set(tables, world, after.device, change.entry.generation)\n",
                "                save_set(tables, world, after.device, change.entry.generation)\n"
                "                planned = tables.assignments.desired(after.device.id)\n"
                "                assert planned is not None\n"
                "                wanted = planned.assignments\n"
                "                named = {each.release for each in wanted.entries if each.release is not None}\n"
                "                releases = {each: world.blobs.read(each) for each in named}\n"
                "                payload = world.signing.desired(wanted, releases)\n"
                "                topic = DownTopic(device=after.device.id, channel=Down.DESIRED)\n"
                "                world.publisher.publish(topic, payload, retained=True)\n",
            ),
            _edit(
                "server/pinnace_server/service/executing.py",
                "from pinnace_server.domain import pairs, plans\n",
                "from pinnace_contract.topics import Down, DownTopic\nfrom pinnace_server.domain import pairs, plans\n",
            ),
        ),
        rule=Rule.PUBLISHED_UNPLANNED,
        seeds=5,
    ),
    Mutation(
        name="collect-the-last-good",
        what="garbage collection spares what is committed alone",
        edits=(
            _edit(
                "agent/pinnace_agent/core/slot.py",
                "(self.current, *self.last_good, *self.emergency_good, *self.broken, lapsed, standby, *trying)",
                "(self.current, *trying)",
            ),
        ),
        rule=Rule.NO_MODEL,
        seeds=20,
        found_by=3,
    ),
    Mutation(
        name="believe-the-last-to-arrive",
        what="a statement that comes late is believed over a newer one",
        edits=(
            _edit(
                "server/pinnace_server/service/hearing.py",
                "            if not identity.reported_counts(device, reported):\n",
                "            if not identity.reported_counts(device, reported) and device.unadopted:\n",
            ),
            _edit(
                "server/pinnace_server/service/hearing.py",
                "    if had is not None and seq is not None and seq <= had.seq:\n",
                "    if had is not None and seq is not None and seq < 0:\n",
            ),
        ),
        rule=Rule.BELIEF,
        seeds=10,
    ),
    Mutation(
        name="believe-an-old-will",
        what="a will counts whichever connection it is of",
        edits=(
            _edit(
                "server/pinnace_server/service/hearing.py",
                "            if not identity.presence_counts(before, presence):\n                return None\n",
                "",
            ),
        ),
        rule=Rule.BELIEF,
        seeds=40,
    ),
    _of_waves(
        "begin-waves-out-of-turn",
        "a wave begins before the one before was promoted",
        _edit(
            "server/pinnace_server/domain/ramp.py",
            "        return next((wave for wave in self.waves if wave.promoted_at_s is None), None)\n",
            "        return next((wave for wave in self.waves if wave.started_at_s is None), None)\n",
        ),
        _edit(
            "server/pinnace_server/domain/ramp.py",
            "        if earlier.promoted_at_s is None:\n",
            "        if earlier.started_at_s is None:\n",
        ),
        rule=Rule.WAVE_TOO_EARLY,
        seeds=10,
    ),
    _of_waves(
        "ask-nobody",
        "a wave begins although people must agree first, and did not",
        _edit(
            "server/pinnace_server/domain/ramp.py",
            "    for approval in ramp.policy.approvals_before(wave.number):\n",
            "    for approval in ():\n",
        ),
        _edit(
            "server/pinnace_server/domain/ramp.py",
            "    elif any(_missing(ramp, wave, each) > 0 for each in ramp.policy.approvals_before(wave.number)):\n",
            "    elif False:\n",
        ),
        rule=Rule.WAVE_UNAGREED,
        seeds=20,
        found_by=5,
    ),
    _of_waves(
        "promote-while-the-gates-hold",
        "a wave is promoted as soon as its gates do not move it back",
        _edit(
            "server/pinnace_server/domain/ramp.py",
            "    if verdict is not None and verdict.promotes:\n",
            "    if verdict is not None:\n",
        ),
        rule=Rule.RULING_UNTRUE,
        seeds=10,
    ),
    _of_waves(
        "rule-without-a-second-look",
        "a ruling is carried out without looking whether it still holds, in the transaction that writes it",
        _edit(
            "server/pinnace_server/service/climbing.py",
            "        if ruling is not None and ramps.check(ruling, ramp):\n",
            "        if ruling is not None and False:\n",
        ),
        rule=Rule.WAVE_TOO_EARLY,
        seeds=40,
        found_by=2,
    ),
    _of_waves(
        "ask-again",
        "that a wave's time is over is written down by each of two controllers",
        _edit(
            "server/pinnace_server/domain/ramp.py",
            "    if ruling.on_time and wave.asked_at_s is not None:\n",
            "    if ruling.on_time and False:\n",
        ),
        _edit(
            "server/pinnace_server/domain/ramp.py",
            "    if ramp.paused and (ruling.on_time or ruling.kind in HALTED_BY_A_PAUSE):\n",
            "    if ramp.paused and ruling.kind in HALTED_BY_A_PAUSE:\n",
        ),
        rule=Rule.ASKED_TWICE,
        seeds=100,
        found_by=33,
    ),
    _of_waves(
        "tell-the-wave-after",
        "devices of the wave after the current one are told the release",
        _edit(
            "server/pinnace_server/domain/ramp.py",
            "    if wave in ramp.begun:\n        return None\n",
            "    if wave in ramp.begun or wave - 1 in ramp.begun:\n        return None\n",
        ),
        rule=Rule.TOLD_TOO_EARLY,
        seeds=10,
    ),
    _of_waves(
        "plan-on-after-a-pause",
        "what was looked at before a pause, or before another server planned, is carried out after it",
        _edit(
            "server/pinnace_server/service/controller.py",
            "rollout.state is not RolloutState.ACTIVE or (due.look is not None and rollout != last):\n",
            "rollout.state is not RolloutState.ACTIVE or last is None:\n",
        ),
        rule=Rule.MOVED_IN_A_PAUSE,
        seeds=100,
        found_by=45,
    ),
    _of_waves(
        "count-nobody-in-flight",
        "the budget counts who is in flight before it lets anybody go, and not whom it lets go",
        _edit("server/pinnace_server/domain/ramp.py", "        self._in_flight += self._places(mover)\n", ""),
        rule=Rule.OVER_BUDGET,
        seeds=10,
    ),
    _of_waves(
        "keep-other-settings",
        "what is kept of a ruling has other settings than those that it was made by",
        _edit(
            "server/pinnace_server/service/climbing.py",
            "records.record(found.verdict, found.gathered.evidence, found.gathered.settings)",
            "records.record(found.verdict, found.gathered.evidence, replace(found.gathered.settings, waves=33))",
        ),
        rule=Rule.RULING_UNTRUE,
        seeds=40,
    ),
    _of_waves(
        "leave-trials-alone",
        "a rollback forgets the devices that have not committed the release yet",
        _edit(
            "server/pinnace_server/service/taking_back.py",
            "        case Leaves.TOLD:\n            return True\n",
            "        case Leaves.TOLD:\n            return member.state not in UNDER_WAY\n",
        ),
        rule=Rule.RAN_ON,
        seeds=100,
        found_by=34,
    ),
    _of_waves(
        "keep-without-the-site",
        "a device keeps a release that it has proved, whatever its site does",
        _edit(
            "agent/pinnace_agent/core/siting.py",
            "    if not work.entry.site_atomic or ignores_holds(slot):\n",
            "    if work.candidate is not None or ignores_holds(slot):\n",
        ),
        rule=Rule.KEPT_UNDECIDED,
        seeds=20,
        found_by=8,
    ),
    _of_waves(
        "commit-with-most-of-a-site",
        "a site commits although a device of it is not prepared",
        _edit(
            "server/pinnace_server/domain/sites.py",
            "    if site.missing:\n        return None\n",
            "    if len(site.missing) > 1:\n        return None\n",
        ),
        rule=Rule.DECIDED_TOO_EARLY,
        seeds=20,
        found_by=8,
    ),
    _of_waves(
        "go-back-without-who-is-prepared",
        "a device that is prepared serves on although its site goes back",
        _edit(
            "agent/pinnace_agent/core/siting.py",
            "        case SiteVerdict.REVERT if not work.again:  # it is here",
            "        case SiteVerdict.REVERT if work.again:  # it is here",
        ),
        rule=Rule.SITE_MIXED,
        seeds=100,
        found_by=72,
    ),
    _of_waves(
        "commit-as-a-lease-ends",
        "a site commits in the last seconds of a lease, and its devices may go back before they hear so",
        _edit(
            "server/pinnace_server/domain/sites.py",
            "    if until_s is not None and now_s > until_s - MARGIN_S:\n",
            "    if until_s is not None and now_s < until_s - 10.0:\n"
            "        return None\n"
            "    if until_s is not None and now_s > until_s:\n",
        ),
        rule=Rule.DECIDED_TOO_LATE,
        seeds=40,
        found_by=24,
    ),
    _of_waves(
        "let-a-site-go-without-counting",
        "whoever is let go still counts among the healthy of its site",
        _edit("server/pinnace_server/domain/ramp.py", "        self._healthy[mover.site] -= mover.healthy\n", ""),
        rule=Rule.TOO_FEW_HEALTHY,
        seeds=20,
        found_by=4,
    ),
    _of_waves(
        "forget-the-window",
        "devices are not told of the window that they wait for",
        _edit(
            "server/pinnace_server/service/ramps.py",
            "    return replace(target, window=found)\n",
            "    return target\n",
        ),
        rule=Rule.OUTSIDE_WINDOW,
        seeds=20,
        found_by=3,
    ),
    _of_told(
        "forget-an-outcome",
        "of what applications told in one minute only the first report counts",
        _edit(
            "server/pinnace_server/domain/telemetry.py",
            "        outcomes=outcomes_of(one.outcomes, other.outcomes),\n",
            "        outcomes=one.outcomes or dict(other.outcomes),\n",
        ),
        rule=Rule.MISCOUNTED,
        seeds=10,
        found_by=7,
    ),
    _of_told(
        "audit-without-classes",
        "whoever works a verdict out again leaves out the classes that were answered",
        _edit(
            "server/pinnace_server/domain/gates/records.py",
            "        classes=None if classes is None else _classes(_map(classes)),\n",
            "        classes=None,\n",
        ),
        rule=Rule.RULING_UNTRUE,
        seeds=20,
        found_by=5,
    ),
    _of_waves(
        "count-the-control-for-the-candidate",
        "what the control arm of a device answered is counted for the release on trial beside it",
        _edit(
            "agent/pinnace_agent/core/lifecycle.py",
            "                serving is not None and serving.is_same(event.release, event.variant)\n",
            "                serving is not None\n",
        ),
        rule=Rule.RECEIPT_UNTRUE,
        seeds=60,
        found_by=8,
    ),
    _of_waves(
        "unload-blue-at-the-switch",
        "what served is stopped when a ready candidate takes over",
        _edit(
            "agent/pinnace_agent/serving/hearing.py",
            "                model.standby = before\n",
            "                model.standby = before\n                self._host.stop(before)\n",
        ),
        rule=Rule.STANDBY_UNLOADED,
        seeds=30,
        found_by=14,
    ),
    _of_waves(
        "switch-before-all-are-ready",
        "devices are told to switch as soon as they are ready, and not with their wave",
        _edit(
            "server/pinnace_server/domain/ramp.py",
            "    if wave in ramp.told:\n",
            "    if True:\n",
        ),
        rule=Rule.SWITCHED_TOO_EARLY,
        seeds=30,
        found_by=14,
    ),
)


def named(name: str) -> Mutation:
    """Return a mutation.

    Raises:
        Unpatchable: there is none of this name.
    """
    found = next((each for each in MUTATIONS if each.name == name), None)
    if found is None:
        raise Unpatchable(f"no mutation {name!r}; there are {', '.join(each.name for each in MUTATIONS)}")
    return found


def hunt(mutation: Mutation, *, first_seed: int = 1, seeds: int | None = None, processes: int = 1) -> Caught:
    """Play worlds with the bug in until one breaks a rule, or the seeds are used up.

    Raises:
        Unpatchable
    """
    with mutated(mutation) as folder:
        command = [sys.executable, "-m", "pinnace_sim", "explore", "--json", "--stop-after", "1", "--no-logs"]
        command += ["--first-seed", str(first_seed), "--seeds", str(seeds or mutation.seeds)]
        command += ["--processes", str(processes), "--story", mutation.story]
        command += ["--devices", str(mutation.devices), "--hours", str(mutation.hours)]
        paths = os.pathsep.join(str(folder / name) for name in SOURCES)
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}, cwd=folder, check=False
        )
    try:
        broken = json.loads(done.stdout)["broken"]
    except (ValueError, KeyError) as error:
        raise Unpatchable(f"{mutation.name}: no world could be played:\n{done.stderr[-2000:]}") from error
    if not broken:
        return Caught(mutation=mutation, seed=0, rule="", text="")
    first = broken[0]
    return Caught(mutation=mutation, seed=int(first["seed"]), rule=str(first["rule"]), text=str(first["text"]))


@contextmanager
def mutated(mutation: Mutation) -> Iterator[Path]:
    """Copy the sources to a folder and patch them there.

    Raises:
        Unpatchable: a place of the patch is not, or not only once, in the source.
    """
    with tempfile.TemporaryDirectory(prefix="pinnace-mutant-") as name:
        folder = Path(name)
        for source in SOURCES:
            shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        for edit in mutation.edits:
            path = folder / edit.path
            text = path.read_text()
            if text.count(edit.old) != 1:
                raise Unpatchable(
                    f"{mutation.name}: expected once in {edit.path}, found {text.count(edit.old)} times:\n{edit.old}"
                )
            path.write_text(text.replace(edit.old, edit.new))
        yield folder
