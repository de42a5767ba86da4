"""Whatever happens, in whatever order: hypothesis drives a device and these sentences stay true after every event."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pinnace_agent.core import device, effects, events
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.lifecycle import PHASES, TRANSITIONS_MAX
from pinnace_agent.core.reported import active, reported
from pinnace_contract import codec
from pinnace_contract.ids import BootId, RolloutId
from pinnace_contract.latest import (
    ArmMode,
    Arms,
    Cause,
    ContactMode,
    ContactPolicy,
    Intent,
    Outcome,
    Phase,
    Receipt,
    Reported,
    SiteDecision,
    SiteVerdict,
    Swap,
    TrialMode,
    TrialPolicy,
    WithdrawMode,
)
from tests.agent.core.scene import MISSED, MODEL, PASSED, ROLLOUT, SITE, SITED, Driver, id_of, release, variant

RELEASES = [
    release(number, epoch=number // 3, variants=(variant(f"a{number}", memory=100), variant(f"b{number}")))
    for number in range(1, 7)
]
FAILURES = [
    Cause.LOAD_FAILED,
    Cause.CRASHED,
    Cause.HUNG,
    Cause.NO_ROOM,
    Cause.STORAGE_ERROR,
    Cause.DIGEST_MISMATCH,
    Cause.TRANSFER_GONE,
    Cause.MEMORY_EXCEEDED,
]
failures = st.sampled_from(FAILURES)
ENDS = {Outcome.COMMITTED, Outcome.REVERTED, Outcome.FAILED, Outcome.REJECTED, Outcome.SUPERSEDED, Outcome.CANCELLED}


def in_phase(*phases: Phase):
    return precondition(lambda self: self.has_slot and self.d.phase in phases)


def has_work():
    return precondition(lambda self: self.has_slot and self.d.slot.work is not None)


class DeviceUnderTest(RuleBasedStateMachine):
    """One device, one model, six releases; a shadow of the disk that forgets what was not saved."""

    @initialize()
    def begin(self) -> None:
        self.d = Driver()
        self.disk: DeviceState = self.d.state
        self.floor = 0
        self.generation = 0
        self.served_once = False
        self.stopped: set[str] = set()
        self.applied: list[int] = []
        self.sited: set[int] = set()
        self.back_again: set[int] = set()

    @property
    def has_slot(self) -> bool:
        return self.d.state.slot(MODEL) is not None

    def saved(self) -> None:
        """Do what a shell does: save when told to, and act only after it."""
        if self.d.change.save:
            self.disk = self.d.state
        else:
            assert not self.d.change.effects or all(isinstance(e, effects.Serve) for e in self.d.change.effects)
            assert not self.d.change.receipts

    # --- the server ---

    @rule(
        number=st.integers(0, 5),
        intent=st.sampled_from([Intent.UPGRADE, Intent.UPGRADE, Intent.ROLLBACK, Intent.REMOVE]),
        jump=st.sampled_from([1, 1, 1, 5, 0, -3]),
        attempt=st.integers(1, 3),
        trial=st.sampled_from([TrialPolicy(), TrialPolicy(mode=TrialMode.NONE), TrialPolicy(inferences=10)]),
        contact=st.sampled_from(list(ContactMode)[:2]),
        swap=st.sampled_from([Swap.AUTO, Swap.STOP_FIRST]),
        odd=st.sampled_from(["", "", "", "", "site", "site", "site", "nameless", "lease"]),
        shadow=st.sampled_from(
            ["", "", "right", "right", "short", "elsewhere", "split", "split", "split", "wait", "switch", "switch"]
        ),
    )
    def assign(self, number, intent, jump, attempt, trial, contact, swap, odd, shadow) -> None:
        made = RELEASES[number]
        generation = max(0, self.d.state.generation + jump)
        if jump > 0 or not self.has_slot:
            self.d.release = made
        entry = self.d.entry(
            made,
            generation=generation,
            intent=intent,
            attempt=attempt,
            trial=trial,
            contact=ContactPolicy(mode=contact),
            swap=swap,
            lease_until_s=5 if odd == "lease" else None,
            **SITED if odd == "site" else {"site_atomic": odd == "nameless"},
            arms=self.arms(shadow),
        )
        before = self.d.state
        self.d.take_set(entry)
        if generation > before.generation:
            self.applied.append(generation)
            if odd == "site" and intent is Intent.UPGRADE:
                self.sited.add(generation)
        else:
            assert self.d.state.slots == before.slots
        self.saved()

    def arms(self, how: str) -> Arms | None:
        current = self.d.slot.current if self.has_slot else None
        if not how or current is None:
            return None
        until_s = int(self.d.around.unix_s) + (60 if how == "short" else 100_000)
        if how in ("wait", "switch"):
            share = 100 if how == "switch" else 0
            return Arms(
                mode=ArmMode.BLUE_GREEN,
                control=current.release,
                share_percent=share,
                until_s=until_s,
                duration_s=5_000,
            )
        return Arms(
            mode=ArmMode.SPLIT if how == "split" else ArmMode.SHADOW,
            control=id_of(RELEASES[0]) if how == "elsewhere" else current.release,
            share_percent=50,
            until_s=until_s,
            duration_s=0 if how == "short" else 600,
            differing_percent_max=10,
        )

    @in_phase(Phase.READY)
    @rule()
    def switch(self) -> None:
        self.d.told_to_switch()
        self.applied.append(self.d.state.generation)
        self.saved()

    @precondition(lambda self: self.has_slot and self.d.slot.standby is not None)
    @rule(cause=st.none() | failures)
    def standby(self, cause) -> None:
        """The standby comes up or dies, at any time."""
        of = self.d.slot.standby.servable
        if cause is None:
            self.d.event(events.StandbyUp(release=of.release, variant=of.variant))
        else:
            before = self.d.serving
            self.d.event(events.StandbyExited(release=of.release, variant=of.variant, cause=cause))
            assert self.d.serving == before
        self.saved()

    @rule()
    def cancel(self) -> None:
        self.d.cancel()
        self.applied.append(self.d.state.generation)
        self.saved()

    @precondition(lambda self: self.has_slot)
    @rule(number=st.integers(0, 5), mode=st.sampled_from([WithdrawMode.RETIRE, WithdrawMode.STOP]))
    def withdraw(self, number, mode) -> None:
        made = RELEASES[number]
        self.d.withdraw(made, mode)
        if mode is WithdrawMode.STOP:
            self.stopped.add(id_of(made))
        self.saved()

    @has_work()
    @rule(seq=st.integers(0, 3))
    def contact(self, seq) -> None:
        event = events.ContactMade(boot=self.d.around.host.boot, seq_to=seq)
        self.d.take(device.contact(self.d.state, event, self.d.around))
        self.saved()

    @precondition(lambda self: self.has_slot)
    @rule(verdict=st.sampled_from(list(SiteVerdict)), foreign=st.sampled_from(["", "", "", "rollout", "site", "old"]))
    def decide(self, verdict, foreign) -> None:
        """The same set again, with a decision: of all that it says, only what is about the entry at hand counts."""
        generation = self.d.slot.generation - (foreign == "old")
        site = "elsewhere" if foreign == "site" else SITE
        rollout = RolloutId("r-8") if foreign == "rollout" else ROLLOUT
        before = self.d.state.slots
        word = SiteDecision(rollout=rollout, site=site, generation=max(0, generation), verdict=verdict)
        self.d.take_set(generation=self.d.state.generation, site_decisions=(word,))
        if foreign or verdict is SiteVerdict.UNKNOWN:
            assert self.d.state.slots == before
        self.saved()

    # --- the shell's answers ---

    @has_work()
    @rule(failure=st.none() | failures)
    def answer(self, failure) -> None:
        """Answer the job at hand, well or badly; that is all a shell can do in any phase."""
        d, ticket = self.d, self.d.slot.ticket
        entry = d.slot.work.entry if d.slot.work else None
        assert entry is not None
        match d.phase:
            case Phase.OFFERED:
                made = next((each for each in RELEASES if id_of(each) == entry.release), None)
                if failure or made is None:
                    d.refused(failure or Cause.SIGNATURE_INVALID)
                else:
                    d.event(events.ReleaseRead(ticket=ticket, release_id=id_of(made), release=made))
            case Phase.FETCHING:
                d.fetch_failed(failure) if failure else d.fetched()
            case Phase.VERIFYING:
                d.verify_failed(failure) if failure else d.verified()
            case Phase.STAGED:
                d.tick(60)
            case Phase.SELF_TEST:
                d.self_test_failed(failure) if failure else d.self_tested()
            case Phase.SHADOW:
                d.candidate_exits(failure) if failure else d.shadowing()
            case Phase.READY:
                d.candidate_exits(failure) if failure else d.made_ready()
            case Phase.TRIAL | Phase.AWAITING_CONTACT | Phase.PREPARED:
                d.exits(failure) if failure else d.activated()
            case Phase.REVERTING:
                d.revert_failed() if failure else d.reverted()
        self.saved()

    @in_phase(Phase.SELF_TEST)
    @rule()
    def miss_golden(self) -> None:
        self.d.self_tested(MISSED)
        self.saved()

    @in_phase(Phase.SHADOW)
    @rule(pairs=st.integers(0, 200), share=st.sampled_from([0.0, 0.05, 0.9]))
    def compare(self, pairs, share) -> None:
        self.d.compared(pairs, int(pairs * share))
        self.saved()

    @in_phase(Phase.TRIAL, Phase.AWAITING_CONTACT, Phase.PREPARED)
    @rule(inferences=st.integers(0, 80), errors=st.integers(0, 2), replay=st.booleans(), passed=st.booleans())
    def serve(self, inferences, errors, replay, passed) -> None:
        if replay:
            self.d.replayed(golden=PASSED if passed else MISSED)
        else:
            self.d.served(inferences, min(errors, inferences))
        self.saved()

    @precondition(lambda self: self.has_slot and self.d.slot.serving is not None)
    @rule(cause=failures)
    def die(self, cause) -> None:
        self.d.exits(cause)
        self.saved()

    @precondition(lambda self: self.has_slot and self.d.slot.split is not None)
    @rule(cause=failures)
    def control_dies(self, cause) -> None:
        outcomes = self.d.outcomes
        self.d.control_exits(cause)
        assert self.d.outcomes == outcomes  # it says nothing about what it stands beside
        self.saved()

    # --- applications, time, power ---

    @rule(seconds=st.sampled_from([0, 60, 10_000]))
    def veto(self, seconds) -> None:
        self.d.veto(seconds)
        self.saved()

    @rule(seconds=st.sampled_from([1, 61, 700, 4_000, 90_000, 700_000]))
    def wait(self, seconds) -> None:
        self.d.tick(seconds)
        self.saved()

    @rule(memory=st.sampled_from([None, 50, 1_000]))
    def memory_changes(self, memory) -> None:
        self.d.with_health(memory_free_bytes=memory)

    @rule(in_order=st.booleans())
    def restart(self, in_order) -> None:
        if in_order:
            self.d.stops_in_order()
            self.saved()
        self.d.state = self.disk
        self.d.restarts()
        self.saved()
        once, done = self.d.state, self.d.effects
        self.d.recovers()
        assert (self.d.state, self.d.effects) == (once, done)

    # --- what must hold ---

    @invariant()
    def floor_never_sinks_and_nothing_below_it_starts(self) -> None:
        if not self.has_slot:
            return
        slot = self.d.slot
        assert slot.floor >= self.floor
        self.floor = slot.floor
        for effect in self.d.effects:
            if isinstance(effect, effects.SelfTest | effects.MakeReady | effects.Activate):
                assert effect.candidate.epoch >= slot.floor

    @invariant()
    def a_candidate_beside_what_serves_serves_nobody_and_what_is_committed_does(self) -> None:
        if not self.has_slot or self.d.phase not in (Phase.SHADOW, Phase.READY):
            return
        slot = self.d.slot
        assert slot.work is not None
        assert slot.work.entry.arms is not None
        assert slot.serving is not None
        assert slot.serving.release == slot.work.entry.arms.control
        assert not [each for each in self.d.effects if isinstance(each, effects.Activate | effects.Revert)]

    @invariant()
    def what_a_site_decides_about_is_kept_only_when_the_site_said_so(self) -> None:
        """At once, or when it serves again after a commit that came late: there is no second word."""
        if self.has_slot and self.d.slot.work is not None and self.d.slot.work.again:
            self.back_again.add(self.d.slot.work.entry.generation)
        for receipt in self.d.change.receipts:
            if receipt.outcome is Outcome.COMMITTED and receipt.generation in self.sited and not receipt.detail:
                said = [each for each in self.d.state.site_decisions if each.generation == receipt.generation]
                kept = [each.verdict for each in said] == [SiteVerdict.COMMIT]
                assert kept or receipt.generation in self.back_again

    @invariant()
    def a_control_arm_stands_beside_what_serves_and_could_serve_alone(self) -> None:
        if not self.has_slot or self.d.slot.split is None:
            return
        slot, split = self.d.slot, self.d.slot.split
        assert slot.phase in (Phase.TRIAL, Phase.AWAITING_CONTACT, Phase.PREPARED, Phase.IDLE)
        assert slot.serving == split.candidate
        assert split.control in ((slot.current,) if slot.phase is not Phase.IDLE else slot.last_good)
        assert split.control in slot.kept
        assert split.left_s > 0

    @invariant()
    def a_standby_is_what_can_be_gone_back_to(self) -> None:
        if not self.has_slot or self.d.slot.standby is None:
            return
        slot, of = self.d.slot, self.d.slot.standby.servable
        assert slot.phase in (Phase.IDLE, Phase.TRIAL, Phase.AWAITING_CONTACT, Phase.PREPARED)
        assert slot.split is None
        assert of != slot.serving
        assert of in slot.last_good or of == slot.current
        assert of in slot.kept
        assert of.release not in slot.withdrawn

    @invariant()
    def generations_only_grow_and_none_is_applied_twice(self) -> None:
        assert self.applied == sorted(set(self.applied))
        assert self.d.state.generation >= self.generation
        self.generation = self.d.state.generation

    @invariant()
    def receipts_are_never_said_twice_and_counted_without_gaps(self) -> None:
        ids = [receipt.id for receipt in self.d.receipts]
        assert len(set(ids)) == len(ids)
        assert [receipt.counter for receipt in self.d.receipts] == list(range(1, len(ids) + 1))
        assert {receipt.outcome for receipt in self.d.receipts} <= ENDS

    @invariant()
    def a_device_that_had_a_model_can_serve_one_or_says_why_not(self) -> None:
        if not self.has_slot:
            return
        slot = self.d.slot
        self.served_once = self.served_once or slot.current is not None
        if self.served_once and slot.current is None and slot.phase is not Phase.REVERTING:
            assert not slot.last_good
            assert slot.reason.cause is not Cause.NONE or slot.work is not None or slot.ended is not None

    @invariant()
    def stopped_releases_are_nowhere(self) -> None:
        if self.has_slot:
            slot = self.d.slot
            assert not {each.release for each in slot.kept if slot.phase is not Phase.REVERTING} & self.stopped

    @invariant()
    def the_state_is_bounded_whole_and_can_be_written(self) -> None:
        if not self.has_slot:
            return
        slot = self.d.slot
        assert slot.phase in PHASES
        assert (slot.work is None) == (slot.phase is Phase.IDLE)
        assert slot.waiting is None or slot.phase is Phase.REVERTING
        if slot.work is not None:
            # Going back is never refused for having gone in circles.
            assert slot.phase is Phase.REVERTING or slot.work.transitions <= TRANSITIONS_MAX
            assert slot.work.left >= 0
        data = codec.canonical_json(codec.plain(self.d.state))
        assert codec.from_plain(DeviceState, codec.parse_json("state", data, len(data))) == self.d.state

    @invariant()
    def everything_that_is_said_can_be_sent(self) -> None:
        told = replace(reported(self.d.state, 1, self.d.around), boot=BootId("1" * 32))
        assert codec.from_json(Reported, codec.to_json(told)) == told
        for receipt in self.d.change.receipts:
            assert codec.from_json(Receipt, codec.to_json(receipt)) == receipt
        active(self.d.state)


TestDevice = DeviceUnderTest.TestCase
TestDevice.settings = settings(max_examples=60, stateful_step_count=50)
