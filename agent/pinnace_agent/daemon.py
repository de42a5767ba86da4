"""The agent's one loop: take what happened, decide in the core, save, act. All others only put events on its queue.

Order is the point: a decision is on the disk before anything is done about it, a receipt is sealed into the same write
as the state it speaks of, and every effect may be repeated after a crash.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final, assert_never

from pinnace_agent import status, trust
from pinnace_agent.adapters.mqtt_paho import Arrived, Connected, Disconnected
from pinnace_agent.complaints import Complaints
from pinnace_agent.core import device, effects, events
from pinnace_agent.core.device import Change, DeviceState
from pinnace_agent.core.slot import NOTHING_TO_SAY, Servable, because
from pinnace_agent.core.surroundings import Surroundings
from pinnace_agent.errors import AgentError, Refused
from pinnace_agent.hashing import Hashed, Hashing
from pinnace_agent.parts import Happened, Parts
from pinnace_agent.requests import Request, Told
from pinnace_agent.store_port import StorageError
from pinnace_contract import topics
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import Ack, Cause, Command, Data, Phase, SystemHealth

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
ARRIVALS_MAX: Final = 256  # in one turn
COLLECT_EVERY_S: Final = 1.0  # while a trial counts inferences, or a shadow pairs; otherwise once for each report
WATCHED: Final = (Phase.SHADOW, Phase.TRIAL, Phase.AWAITING_CONTACT, Phase.PREPARED)
HEALTH_EVERY_S: Final = 2.0  # free memory decides how a model is swapped; older than this it says little
SAVE_RETRY_S: Final = 2.0  # a full or failing disk is asked again
EXIT_RESTART: Final = 75  # a service manager starts the agent again


class Daemon:
    """The loop and the state it owns. Used by one thread; only ``Parts.happened`` may be touched by others."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.state = parts.state
        self._health: tuple[float, SystemHealth] | None = None
        self._collected_s = 0.0
        self._stopping: int | None = None
        self._later: list[tuple[ModelName, events.Event]] = []
        self._lost: set[ReleaseId] = set()
        self._complaints = Complaints(parts.clock)
        self._hashing = Hashing(parts.releases, parts.store, parts.beside, parts.happened.put)
        self._connections = parts.state.connection
        self._shown: DeviceState | None = None
        self._show()

    # --- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until told to stop; returns the exit status."""
        self.begin()
        while self._stopping is None:
            self.turn(TICK_S)
            if self._parts.stop.is_set():
                self._stopping = 0
        self.end()
        return self._stopping

    def begin(self) -> None:
        """Take up the device where the last run left it."""
        self._apply(device.recover(self.state, self._around()))
        self._drain()

    def turn(self, wait_s: float) -> None:
        """Handle what happened, at most until ``wait_s`` without news, then let time pass."""
        for happened in arrivals(self._parts.happened, wait_s):
            self._handle(happened)
            self._drain()
        self._tick()
        self._drain()

    def _handle(self, happened: Happened) -> None:
        parts = self._parts
        if isinstance(happened, Arrived):
            self._arrived(happened)
        elif isinstance(happened, Connected):
            self._connected(happened)
        elif isinstance(happened, Disconnected):
            parts.uplink.lost(happened.number, happened.reason, parts.clock())
        elif isinstance(happened, Hashed):
            self.step(happened.model, happened.answer)
        elif isinstance(happened, Request):
            self.step(happened.model, happened.event)
        elif isinstance(happened, Told):
            for told in happened.blocks:
                parts.reporting.add(told)
        else:
            block = parts.serving.heard(happened)
            if block is not None:
                parts.reporting.add(block)

    def _drain(self) -> None:
        """Hand the core everything that came of effects, until nothing more does."""
        if self._lost:
            lost, self._lost = self._lost, set()
            self._apply(device.lost(self.state, lost))
        while True:
            out = [*self._later, *self._parts.serving.take(), *self._parts.fetching.take()]
            self._later = []
            if not out:
                return
            for model, event in out:
                self.step(model, event)

    def _tick(self) -> None:
        parts, now_s = self._parts, self._parts.clock()
        parts.fetching.tick()
        parts.serving.tick()
        if any(not slot.rests for slot in self.state.slots):
            self._apply(device.tick(self.state, self._around()))
        self._settle()
        on_trial = any(slot.phase in WATCHED for slot in self.state.slots)
        window_over = parts.reporting.collecting_due(now_s)
        if window_over or (on_trial and now_s - self._collected_s >= COLLECT_EVERY_S):
            self._collected_s = now_s
            parts.serving.collect()
        parts.reporting.close_if_due(now_s, self._unix_s(), parts.system.health)
        self._speak()
        self._show()

    def _show(self) -> None:
        """Give ``agent.sock`` something to answer with: facts that do not change, put together only if it is asked."""
        parts, state = self._parts, self.state
        if state is not self._shown:
            self._shown = state
            parts.desk.models = frozenset(slot.model for slot in state.slots)
        parts.desk.snapshot = partial(
            status.compose,
            state,
            parts.host.device,
            connected=parts.uplink.connected,
            problem=parts.uplink.last_problem,
            unsent_reports=parts.reporting.waiting,
            version=parts.host.agent_version,
            serving=parts.serving.variants(),
            unix_s=parts.wall(),
        )

    def rests_until(self) -> float | None:
        """Return when something is due by itself, on ``Parts.clock``; None while anything is under way.

        For whoever calls ``turn`` without waiting: a simulator with a clock of its own.
        """
        parts = self._parts
        decided = bool(self.state.site_decisions)  # perhaps of a site that waits here to come back
        under_way = any(
            slot.phase is not Phase.IDLE or (decided and slot.lapsed is not None) for slot in self.state.slots
        )
        if under_way or parts.fetching.busy or parts.belief.busy or self._later:
            return None
        connected = parts.uplink.connected
        due_s = min(parts.reporting.due_s(connected=connected), parts.belief.due_s, parts.serving.due_s)
        shares = (slot.split.seen_s + slot.split.left_s for slot in self.state.slots if slot.split is not None)
        stays = (slot.standby_until_s for slot in self.state.slots)
        due_s = min((due_s, *shares, *stays))
        if connected:
            return min(due_s, parts.speech.due_s(self.state))
        return due_s if parts.uplink.retry_at_s is None else min(due_s, parts.uplink.retry_at_s)

    def end(self) -> None:
        """Stop in order."""
        parts = self._parts
        log.info("stopping")
        self._apply(device.stop(self.state, self._around()))
        parts.speech.goodbye(self.state, self._around())

    # --- deciding ------------------------------------------------------------------------------------------------

    def step(self, model: ModelName, event: events.Event) -> None:
        """Let the core decide about one event of one model, then save and act."""
        self._apply(device.step(self.state, model, event, self._around()))

    def _apply(self, change: Change) -> None:
        before = self.state
        after = device.sealed(change, self._parts.uplink.seal)
        if change.save and not self._save(after):
            return
        self.state = after
        if change.told:
            self._parts.speech.changed()
        _log_phases(before, after)
        for effect in change.effects:
            self._act(effect)
        self._explain(before, after)

    def _explain(self, before: DeviceState, after: DeviceState) -> None:
        """Let the socket of a model that nothing serves say why."""
        for slot in after.slots:
            old = before.slot(slot.model)
            if slot.serving is None and slot.ended is not None and (old is None or old.ended != slot.ended):
                reason = slot.ended.reason
                self._parts.serving.explain(slot.model, f"no model: {reason.cause} {reason.detail}".strip())

    def _save(self, state: DeviceState) -> bool:
        return self._durably(partial(self._parts.store.save, state))

    def _durably(self, write: Callable[[], None]) -> bool:
        """Write, however long the disk takes to let us: nothing may be done about what a power cut could undo.

        False only when the agent is told to stop meanwhile; then nothing is acted on, and the next run decides again.
        """
        while True:
            try:
                write()
            except StorageError as error:
                log.error("the disk does not take what must be kept, so nothing is done: %s", error)
                self._tell_trouble(error)
                if self._parts.stop.wait(SAVE_RETRY_S):
                    self._stopping = 0
                    return False
            else:
                return True

    def _tell_trouble(self, error: StorageError) -> None:
        self._parts.speech.trouble(self.state, because(error.cause, str(error)), self._around())
        self._collect_garbage()

    def _around(self) -> Surroundings:
        now_s = self._parts.clock()
        if self._health is None or now_s - self._health[0] > HEALTH_EVERY_S:
            self._health = (now_s, self._parts.system.summary())
        return Surroundings(
            host=self._parts.host,
            unix_s=self._unix_s(),
            awake_s=now_s,
            report_seq=self._parts.reporting.window.seq,
            health=self._health[1],
        )

    def _unix_s(self) -> float:
        return max(self.state.time_floor_s, self._parts.wall())

    # --- acting --------------------------------------------------------------------------------------------------

    def _act(self, effect: effects.Effect) -> None:
        parts = self._parts
        match effect:
            case effects.FetchRelease():
                parts.fetching.fetch_release(effect)
            case effects.Fetch():
                self._fetch(effect)
            case effects.StopFetch():
                parts.fetching.stop(effect.model)
            case effects.Verify():
                self._verify(effect)
            case effects.SendReportNow():
                parts.reporting.hurry()
            case effects.CollectGarbage():
                self._collect_garbage()
            case (
                effects.SelfTest()
                | effects.Shadow()
                | effects.MakeReady()
                | effects.KeepStandby()
                | effects.EndStandby()
                | effects.Activate()
                | effects.Replay()
                | effects.StopCandidate()
                | effects.Serve()
                | effects.Revert()
                | effects.Unload()
            ):
                parts.serving.act(effect)
            case _:
                assert_never(effect)

    def _fetch(self, effect: effects.Fetch) -> None:
        try:
            self._collect_garbage()
            self._parts.fetching.fetch(effect, self._parts.releases.stored(effect.release))
        except AgentError as error:
            failed = events.FetchFailed(ticket=effect.ticket, cause=error.cause, detail=str(error))
            self._later.append((effect.model, failed))

    def _verify(self, effect: effects.Verify) -> None:
        failed = self._hashing.begin(effect)
        if failed is not None:
            self._later.append((effect.model, failed))

    def _collect_garbage(self) -> None:
        try:
            collected = self._parts.store.collect_garbage(device.kept(self.state))
        except AgentError as error:
            log.warning("garbage stays: %s", error)
            return
        if collected.unreadable:
            log.warning("the disk lost release files: %s", ", ".join(each[:12] for each in collected.unreadable))
            self._lost.update(collected.unreadable)

    # --- what arrives --------------------------------------------------------------------------------------------

    def _arrived(self, message: Arrived) -> None:
        try:
            found = self._parts.inbox.read(message.topic, message.payload, self.state, self._unix_s())
        except Refused as error:
            self._complaints.about(f"a message on {message.topic[:100]}", str(error))
            return
        match found:
            case None:
                return  # metadata; what it means is settled with the rest of it
            case Data():
                self._parts.fetching.received(found)
            case Ack():
                self._acknowledged(found)
            case Command():
                self._commanded(found)
            case _:
                assert_never(found)

    def _settle(self) -> None:
        self._settle_one()
        while self._parts.belief.unread:
            self._settle_one()

    def _settle_one(self) -> None:
        parts = self._parts
        settled = parts.belief.settle(now_s=self._unix_s(), awake_s=parts.clock())
        if settled.changed:
            files = trust.to_files(parts.belief.trusted)
            if not self._durably(partial(parts.store.save_metadata, trust.UNIT, files)):
                return
            parts.fetching.tick()
        if settled.changed and self.state.refused.cause is Cause.META_INCONSISTENT:
            self._apply(device.refuse(self.state, NOTHING_TO_SAY))
        if settled.refusal is not None:
            self._complaints.about(f"metadata ({settled.refusal.cause})", settled.refusal.detail)
            self._apply(device.refuse(self.state, because(settled.refusal.cause, settled.refusal.detail)))
        wanted = settled.wanted
        if wanted is None:
            return
        self._apply(device.accept_set(self.state, wanted, self._around()))
        floor_s = trust.time_floor_after(self.state.time_floor_s, parts.wall(), float(wanted.issued_at_s))
        if floor_s != self.state.time_floor_s:
            self._apply(Change(state=replace(self.state, time_floor_s=floor_s)))
        parts.uplink.use(parts.endpoints(self.state))

    def _acknowledged(self, ack: Ack) -> None:
        after = device.acknowledged(self.state, ack.receipts)
        if after != self.state:
            self._apply(Change(state=after))
        self._parts.reporting.acknowledged(ack.reports)
        for covered in ack.reports:
            made = events.ContactMade(boot=covered.boot, seq_to=covered.seq_to)
            self._apply(device.contact(self.state, made, self._around()))

    def _commanded(self, command: Command) -> None:
        self._parts.commands.take(command, self.state, self._unix_s())
        if self._parts.commands.restart_asked:
            self._stopping = EXIT_RESTART

    # --- what is said --------------------------------------------------------------------------------------------

    def _speak(self) -> None:
        parts, now_s = self._parts, self._parts.clock()
        if parts.uplink.due(now_s):
            self._connect()
        if parts.uplink.connected:
            parts.speech.say(self.state, self._around())
            topic = topics.UpTopic(device=parts.host.device, channel=topics.Up.REPORT)
            for sealed in parts.reporting.to_send(now_s):
                parts.uplink.say(topic, sealed)

    def _connect(self) -> None:
        """Begin a connection under a number that no other run of the agent has used, or ever will."""
        if self._connections >= self.state.connection:
            self._apply(Change(state=device.with_connections_reserved(self.state)))
        if self._connections < self.state.connection:  # else the agent was told to stop before they were saved
            self._connections += 1
            self._parts.speech.connect(self.state, self._connections, self._around())

    def _connected(self, connected: Connected) -> None:
        parts = self._parts
        if not parts.uplink.established(connected.number, parts.clock()):
            return
        log.info("connected%s", "" if connected.session else ", with a new session at the broker")
        parts.speech.connected()
        parts.speech.say(self.state, self._around())
        parts.reporting.reconnected()
        parts.fetching.reconnected()

    def kept(self) -> tuple[Servable, ...]:
        """Return what must stay on the disk."""
        return device.kept(self.state)

    def want(self, blob: Digest, chunks: int, bitmap: bytes) -> bool:
        """Send a wish for the chunks of a blob."""
        return self._parts.speech.want(self.state, blob, chunks, bitmap)


def arrivals(happened: queue.Queue[Happened], wait_s: float) -> Iterator[Happened]:
    """Yield what happened, the first within ``wait_s``, and no more than a turn may take: time must pass, too.

    Whoever tells the agent something without a pause, as an application may, would keep it from everything else.
    """
    try:
        yield happened.get(timeout=wait_s)
        for _ in range(ARRIVALS_MAX - 1):
            yield happened.get_nowait()
    except queue.Empty:
        return


def _log_phases(before: DeviceState, after: DeviceState) -> None:
    for slot in after.slots:
        old = before.slot(slot.model)
        if old is not None and (old.phase, old.ended) == (slot.phase, slot.ended):
            continue
        ended = f", {slot.ended.outcome}" if slot.phase is Phase.IDLE and slot.ended else ""
        why = f": {slot.reason.cause} {slot.reason.detail}" if slot.reason.cause is not Cause.NONE else ""
        log.info("%s: phase %s%s (generation %d)%s", slot.model, slot.phase, ended, slot.generation, why)
