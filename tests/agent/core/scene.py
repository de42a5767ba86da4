"""A device without a shell: releases to assign, a clock to move, and a driver that answers effects as a shell would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from pinnace_agent.core import device, effects, events
from pinnace_agent.core.device import Change, DeviceState
from pinnace_agent.core.slot import Slot
from pinnace_agent.core.surroundings import Host, HostRuntime, Surroundings
from pinnace_contract.ids import (
    BootId,
    DeviceId,
    Digest,
    IncarnationId,
    ModelName,
    ReleaseId,
    RolloutId,
    VersionName,
    digest_of,
)
from pinnace_contract.latest import (
    P95,
    ArmMode,
    Arms,
    AssignmentSet,
    Blob,
    Cause,
    Chunk,
    Datatype,
    Entry,
    Expectations,
    Golden,
    GoldenResult,
    IoContract,
    LatencySummary,
    Outcome,
    Phase,
    Precision,
    Receipt,
    Release,
    Requirements,
    Runtime,
    SiteDecision,
    SiteVerdict,
    SystemHealth,
    TensorSpec,
    Tolerance,
    TrustLevel,
    Variant,
    WithdrawMode,
)

MODEL = ModelName("defect-detect")
DEVICE = DeviceId("press-7")
INCARNATION = IncarnationId("a" * 32)
START_S = 1_800_000_000.0
PASSED = GoldenResult(vectors=3, passed=True, max_abs=0.0)
MISSED = GoldenResult(vectors=3, passed=False, max_abs=0.5)


def digest(text: str) -> Digest:
    return digest_of(text.encode())


def blob(text: str) -> Blob:
    data = text.encode()
    return Blob(
        digest=digest_of(data), size_bytes=len(data), chunks=(Chunk(digest=digest_of(data), size_bytes=len(data)),)
    )


def variant(name: str, runtime: Runtime = Runtime.ONNX, memory: int = 0) -> Variant:
    return Variant(blob=blob(name), runtime=runtime, precision=Precision.FP32, peak_memory_bytes=memory)


def release(number: int, *, epoch: int = 0, variants: tuple[Variant, ...] = (), unit: str = "", **more: Any) -> Release:
    """Version ``number`` of the model: its sequence is its number."""
    tensor = TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4), unit=unit)
    return Release(
        model=MODEL,
        version=VersionName(f"v{number}"),
        sequence=number,
        epoch=epoch,
        created_at_s=1,
        contract=IoContract(inputs=(tensor,), outputs=(tensor,)),
        variants=variants or (variant(f"weights of v{number}"),),
        golden=Golden(
            blob=blob(f"golden of v{number}"),
            vectors=3,
            tolerances=(Tolerance(runtime=Runtime.ONNX, precision=Precision.FP32, max_abs=0.1),),
        ),
        **more,
    )


def id_of(made: Release) -> ReleaseId:
    return ReleaseId(digest(repr(made)))


V1, V2, V3 = release(1), release(2), release(3)
LEASE_S = 3_600
ROLLOUT, SITE = RolloutId("r-7"), "lyon"
SITED: dict[str, Any] = {"site_atomic": True, "rollout": ROLLOUT, "site": SITE, "lease_s": LEASE_S}
"""What an entry says whose site decides."""
SHADOW_S = 3_600


def shadow_of(control: Release, **more: Any) -> Arms:
    """A shadow of an hour beside a release, that may begin within a day."""
    given = {"mode": ArmMode.SHADOW, "control": id_of(control), "share_percent": 25, "duration_s": SHADOW_S}
    return Arms(**{"until_s": int(START_S) + 86_400} | given | more)


SPLIT_S = 7 * 86_400


def split_of(control: Release, **more: Any) -> Arms:
    """A control arm of a week that keeps a fifth of the requests, and may begin within a day."""
    given = {"mode": ArmMode.SPLIT, "control": id_of(control), "share_percent": 20, "duration_s": SPLIT_S}
    return Arms(**{"until_s": int(START_S) + 86_400 + SPLIT_S} | given | more)


def pair_of(control: Release, *, switches: bool = True, **more: Any) -> Arms:
    """A blue/green pair with a release whose standby stays an hour: it takes over when ready, or waits for a day."""
    given = {"mode": ArmMode.BLUE_GREEN, "control": id_of(control), "share_percent": 100 if switches else 0}
    return Arms(**given | {"until_s": int(START_S) + 86_400, "duration_s": SHADOW_S} | more)


HOST = Host(
    device=DEVICE,
    boot=BootId("0" * 32),
    hardware="rpi4",
    agent_version="0.1.0",
    runtimes=(HostRuntime(runtime=Runtime.ONNX, version="1.20"), HostRuntime(runtime=Runtime.TFLITE, version="2.1")),
)


class Driver:
    """A device with one model; every method is something that happens to it, and returns the driver."""

    def __init__(self) -> None:
        self.around = Surroundings(host=HOST, unix_s=START_S, awake_s=10.0)
        self.state = DeviceState(incarnation=INCARNATION)
        self.receipts: list[Receipt] = []
        self.effects: tuple[effects.Effect, ...] = ()
        self.change = Change(state=self.state)
        self.release = V1
        self.boots = 0

    # --- what can be asked ---

    @property
    def slot(self) -> Slot:
        slot = self.state.slot(MODEL)
        assert slot is not None
        return slot

    @property
    def phase(self) -> Phase:
        return self.slot.phase

    @property
    def serving(self) -> str:
        return str(self.slot.serving.version) if self.slot.serving else "nothing"

    @property
    def outcomes(self) -> list[tuple[Outcome, Cause]]:
        return [(receipt.outcome, receipt.cause) for receipt in self.receipts]

    def effect(self, kind: type) -> Any:
        return next((each for each in self.effects if isinstance(each, kind)), None)

    # --- what can happen ---

    def take(self, change: Change) -> Self:
        self.change = change
        self.state = device.sealed(change, lambda receipt: receipt.id.encode())
        self.receipts.extend(change.receipts)
        self.effects = change.effects
        return self

    def event(self, event: events.Event) -> Self:
        return self.take(device.step(self.state, MODEL, event, self.around))

    def later(self, seconds: float) -> Self:
        self.around = replace(self.around, unix_s=self.around.unix_s + seconds, awake_s=self.around.awake_s + seconds)
        return self

    def tick(self, seconds: float = 1.0) -> Self:
        self.later(seconds)
        return self.take(device.tick(self.state, self.around))

    def clock_jumps_to(self, unix_s: float) -> Self:
        self.around = replace(self.around, unix_s=unix_s)
        return self

    def with_health(self, **facts: Any) -> Self:
        self.around = replace(self.around, health=SystemHealth(**facts))
        return self

    def metered(self, metered: bool = True) -> Self:
        self.around = replace(self.around, metered=metered)
        return self

    def runtime_becomes(self, version: str) -> Self:
        runtimes = (HostRuntime(runtime=Runtime.ONNX, version=version),)
        self.around = replace(self.around, host=replace(self.around.host, runtimes=runtimes))
        return self

    def take_set(self, *entries: Entry, generation: int | None = None, **more: Any) -> Self:
        number = max((entry.generation for entry in entries), default=0) if generation is None else generation
        wanted = AssignmentSet(**{"device": DEVICE, "generation": number, "issued_at_s": 1, "entries": entries} | more)
        return self.take(device.accept_set(self.state, wanted, self.around))

    def entry(self, made: Release, **more: Any) -> Entry:
        variants = tuple(each.digest for each in made.variants)
        generation = self.state.generation + 1
        given = {"model": MODEL, "generation": generation, "release": id_of(made), "variants": variants}
        return Entry(**given | more)

    def assign(self, made: Release, **more: Any) -> Self:
        self.release = made
        return self.take_set(self.entry(made, **more))

    def decide(self, verdict: SiteVerdict, **more: Any) -> Self:
        """The director says the same set again, with the word for the site of its newest entry."""
        generation = self.state.generation
        given = {"rollout": ROLLOUT, "site": SITE, "generation": generation, "verdict": verdict}
        decision = SiteDecision(**given | more)
        entry = self.entry(self.release, generation=generation, **SITED)
        return self.take_set(entry, generation=generation, site_decisions=(decision,))

    def cancel(self) -> Self:
        return self.take_set(generation=self.state.generation + 1)

    def read(self, trust: TrustLevel = TrustLevel.DEV) -> Self:
        return self.event(
            events.ReleaseRead(
                ticket=self.slot.ticket, release_id=id_of(self.release), release=self.release, trust=trust
            )
        )

    def refused(self, cause: Cause) -> Self:
        return self.event(events.ReleaseRefused(ticket=self.slot.ticket, cause=cause))

    def fetched(self) -> Self:
        return self.event(events.Fetched(ticket=self.slot.ticket))

    def fetch_failed(self, cause: Cause) -> Self:
        return self.event(events.FetchFailed(ticket=self.slot.ticket, cause=cause, detail="as the transfer says"))

    def verified(self) -> Self:
        return self.event(events.Verified(ticket=self.slot.ticket))

    def verify_failed(self, cause: Cause) -> Self:
        return self.event(events.VerifyFailed(ticket=self.slot.ticket, cause=cause))

    def self_tested(self, golden: GoldenResult = PASSED) -> Self:
        return self.event(events.SelfTested(ticket=self.slot.ticket, golden=golden, runtime="onnxruntime 1.20"))

    def self_test_failed(self, cause: Cause, log: str = "") -> Self:
        return self.event(events.SelfTestFailed(ticket=self.slot.ticket, cause=cause, log=log))

    def shadowing(self) -> Self:
        return self.event(events.Shadowing(ticket=self.slot.ticket))

    def made_ready(self) -> Self:
        return self.event(events.MadeReady(ticket=self.slot.ticket))

    def told_to_switch(self, **more: Any) -> Self:
        """The newest entry again, which now says that what is ready takes over."""
        assert self.slot.work is not None
        entry = self.slot.work.entry
        assert entry.arms is not None
        arms = replace(entry.arms, share_percent=100)
        return self.take_set(replace(entry, generation=self.state.generation + 1, arms=arms, **more))

    def standby_exits(self, cause: Cause = Cause.CRASHED, of: Release = V1) -> Self:
        return self.event(events.StandbyExited(release=id_of(of), variant=of.variants[0].digest, cause=cause))

    def standby_up(self, of: Release = V1) -> Self:
        return self.event(events.StandbyUp(release=id_of(of), variant=of.variants[0].digest))

    def compared(self, pairs: int, disagreements: int) -> Self:
        assert self.slot.work is not None
        assert self.slot.work.candidate is not None
        tried = self.slot.work.candidate.servable
        return self.event(
            events.Compared(release=tried.release, variant=tried.variant, pairs=pairs, disagreements=disagreements)
        )

    def activated(self) -> Self:
        return self.event(events.Activated(ticket=self.slot.ticket, gap_ms=3.0))

    def served(self, inferences: int, errors: int = 0, p95_ms: float | None = None, samples: int = 0) -> Self:
        latency = None
        if p95_ms is not None:
            latency = LatencySummary(samples=samples, p50_ms=p95_ms, p95_ms=p95_ms, p99_ms=p95_ms)
        serving = self.slot.serving
        assert serving is not None
        return self.event(
            events.Served(
                release=serving.release,
                variant=serving.variant,
                inferences=inferences,
                errors=errors,
                latency=latency,
            )
        )

    def replayed(self, vectors: int = 1, errors: int = 0, golden: GoldenResult = PASSED) -> Self:
        return self.event(events.Replayed(ticket=self.slot.ticket, vectors=vectors, errors=errors, golden=golden))

    def candidate_exits(self, cause: Cause = Cause.CRASHED, log: str = "") -> Self:
        """The worker of a candidate that is loaded beside the one that serves dies."""
        assert self.slot.work is not None
        assert self.slot.work.candidate is not None
        tried = self.slot.work.candidate.servable
        return self.event(events.WorkerExited(release=tried.release, variant=tried.variant, cause=cause, log=log))

    def exits(self, cause: Cause = Cause.CRASHED, log: str = "") -> Self:
        serving = self.slot.serving
        assert serving is not None
        return self.event(events.WorkerExited(release=serving.release, variant=serving.variant, cause=cause, log=log))

    def control_exits(self, cause: Cause = Cause.CRASHED) -> Self:
        """The worker of the control arm dies."""
        assert self.slot.split is not None
        control = self.slot.split.control
        return self.event(events.WorkerExited(release=control.release, variant=control.variant, cause=cause))

    def control_served(self, inferences: int, errors: int = 0) -> Self:
        """What the control arm answered is counted."""
        assert self.slot.split is not None
        control = self.slot.split.control
        return self.event(
            events.Served(release=control.release, variant=control.variant, inferences=inferences, errors=errors)
        )

    def contact(self) -> Self:
        contact = events.ContactMade(boot=self.around.host.boot, seq_to=self.around.report_seq)
        return self.take(device.contact(self.state, contact, self.around))

    def reverted(self) -> Self:
        return self.event(events.Reverted(ticket=self.slot.ticket))

    def revert_failed(self, cause: Cause = Cause.LOAD_FAILED) -> Self:
        return self.event(events.RevertFailed(ticket=self.slot.ticket, cause=cause))

    def veto(self, seconds: float) -> Self:
        return self.event(events.Vetoed(seconds=seconds, reason="the line is running"))

    def withdraw(self, made: Release, mode: WithdrawMode) -> Self:
        return self.event(events.Withdrawn(release=id_of(made), mode=mode))

    def stops_in_order(self) -> Self:
        return self.take(device.stop(self.state, self.around))

    def restarts(self) -> Self:
        """The agent goes down in whatever way, loses what was not saved, and comes up as a new run."""
        self.boots += 1
        host = replace(self.around.host, boot=BootId(f"{self.boots:032x}"))
        self.around = replace(self.around, host=host, awake_s=0.0, report_seq=0)
        return self.recovers()

    def recovers(self) -> Self:
        return self.take(device.recover(self.state, self.around))

    # --- whole stretches of the road ---

    def to(self, phase: Phase) -> Self:
        """Go on as if all went well, until ``phase`` is reached."""
        answers = {
            Phase.OFFERED: self.read,
            Phase.FETCHING: self.fetched,
            Phase.VERIFYING: self.verified,
            Phase.STAGED: self.tick,
            Phase.SELF_TEST: self.self_tested,
            Phase.SHADOW: lambda: self.shadowing().tick(SHADOW_S),
            Phase.READY: lambda: self.made_ready().told_to_switch(),
            Phase.TRIAL: lambda: self.activated().served(100),
            Phase.AWAITING_CONTACT: lambda: self.activated().contact(),
            Phase.PREPARED: lambda: self.activated().decide(SiteVerdict.COMMIT),
            Phase.REVERTING: self.reverted,
        }
        for _ in range(20):
            if self.phase is phase:
                return self
            answers[self.phase]()
        raise AssertionError(f"never came to {phase}, stands in {self.phase}")

    def install(self, made: Release, **more: Any) -> Self:
        """Assign a release and go all the way to its commit."""
        return self.assign(made, **more).to(Phase.IDLE)


def with_expectations(number: int, *, error_rate_max: float = 0.02, p95: tuple[P95, ...] = ()) -> Release:
    return release(number, expectations=Expectations(error_rate_max=error_rate_max, p95=p95))


def with_requirements(number: int, **needs: Any) -> Release:
    return release(number, requirements=Requirements(**needs))
