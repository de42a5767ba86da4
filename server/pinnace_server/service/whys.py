"""Answers to "why": what the planner and the gates say about one device or one rollout, read from one transaction."""

from __future__ import annotations

from dataclasses import replace

from pinnace_contract.ids import DeviceId, RolloutId
from pinnace_server.domain import ramp, wave_report, why
from pinnace_server.domain.pairs import Readiness
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.ramp import Ramp, RulingKind, Standing
from pinnace_server.domain.records import Device, DeviceState, Member, MemberState, Rollout
from pinnace_server.domain.wave_report import WaveReport
from pinnace_server.domain.why import Answer
from pinnace_server.service import memberships, ramps, rules, siting, variant_choices
from pinnace_server.service.fleet import found_device
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.ramps import Look
from pinnace_server.service.roll_calls import RollCalls
from pinnace_server.service.rollouts import found_rollout


class Whys:
    """Asks on behalf of people."""

    def __init__(self, world: World) -> None:
        self._world = world

    def of_device(self, device: DeviceId) -> tuple[Answer, ...]:
        """Return why a device is where it is: one answer for each rollout under way that means it, else for each model.

        Raises:
            NotFound
        """
        now = self._world.clock.now()
        with self._world.store.read() as tables:
            found = found_device(tables, device)
            answers = self._answers(tables, found, now)
        if found.unadopted:
            return tuple(why.of_unadopted(each) for each in answers)
        if found.state is not DeviceState.QUARANTINED:
            return answers
        return tuple(why.of_quarantined(each, found.cause) for each in answers)

    def _answers(self, tables: Tables, device: Device, now: float) -> tuple[Answer, ...]:
        parts = memberships.of_device(tables, device.id)
        if parts:
            return tuple(_of_member(tables, *part, device, now) for part in parts)
        slots = tables.devices.slots([device.id])
        if not slots:
            return (why.of_nothing(device.id, None, None, "no_model"),)
        running = [(slot.model, slot.state.current) for slot in slots]
        return tuple(
            why.of_nothing(device.id, model, of.version if of else None, "serves" if of else "no_model")
            for model, of in running
        )

    def of_rollout(self, rollout: RolloutId) -> Answer:
        """Return why a rollout is where it is.

        Raises:
            NotFound
        """
        now = self._world.clock.now()
        with self._world.store.read() as tables:
            found = found_rollout(tables, rollout)
            members = tables.rollouts.members(rollout)
            look, standing = _looked(tables, found, now)
            report = ramps.report(tables, found, members, look, now)
            of = look.ramp if look is not None else None
            return why.of_rollout(
                found,
                dict(report.waiting()),
                ramp=of,
                standing=standing,
                said=said_of(of),
                kept=_kept(tables, found, of),
                sites=tuple(siting.sites_now(tables, found, now).values()),
                unreadable=rules.unreadable(found),
                examples={each.waiting_on: each for each in reversed(report.devices) if each.waiting_on is not None},
            )


def standing_of(of: Ramp | None, now: float, ready: Readiness | None = None) -> Standing | None:
    """Return where a rollout stands; None: it has no waves.

    What the devices of a wave wait for on their way to its switch is told by ``ready``, those that are ready now; the
    rest by what the gates said when they last looked, which is up to ten minutes ago.
    """
    if of is None:
        return None
    said, wave, found = said_of(of), of.current, ramp.standing(of, None, now, ready)
    if wave is None or wave.started_at_s is None or of.paused or said is None or said.waiting_on is None:
        return found
    if _is_of_switch(found) or said.waiting_on is WaitingOn.SWITCH:  # the last look saw another moment of it
        return found
    return Standing(wave=found.wave, waiting_on=said.waiting_on, detail=said.detail, until_s=said.until_s)


def _is_of_switch(found: Standing) -> bool:
    ruled = found.ruling is not None and found.ruling.kind is RulingKind.SWITCH
    return ruled or found.waiting_on is WaitingOn.SWITCH


def said_of(of: Ramp | None) -> WaveReport | None:
    """Return what the gates of the current wave said when they last looked."""
    return wave_report.read(of.current.verdict) if of is not None and of.current is not None else None


def _looked(tables: Tables, rollout: Rollout, now: float) -> tuple[Look | None, Standing | None]:
    """Return how a rollout in waves is at this moment, with one roll call for all of it; None: it is a plain
    assignment, or its policy cannot be read."""
    calls = RollCalls()
    with calls.remembered():
        look = ramps.shown(tables, rollout, now, calls)
        if look is None:
            return None, None
        return look, standing_of(look.ramp, now, ramps.readiness(tables, rollout, look.ramp, calls))


def _kept(tables: Tables, rollout: Rollout, of: Ramp | None) -> int:
    """Return how many devices of the current wave keep the release."""
    if of is None or of.current is None:
        return 0
    return tables.rollouts.wave_counts(rollout.id).get(of.current.number, {}).get(MemberState.COMMITTED, 0)


def _of_member(tables: Tables, rollout: Rollout, member: Member, device: Device, now: float) -> Answer:
    look, standing = _looked(tables, rollout, now)
    (report,) = ramps.report(tables, rollout, [member], look, now).devices
    of = look.ramp if look is not None else None
    kept = _kept(tables, rollout, of)
    found = why.of_device(rollout, report, ramp=of, standing=standing, said=said_of(of), kept=kept)
    choice = variant_choices.of_member(tables, rollout, member, device)
    return replace(found, variant=choice.why if choice is not None else "")
