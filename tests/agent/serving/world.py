"""A host that only takes notes, and what the tests of its worlds share: two releases, and who serves them."""

from __future__ import annotations

from dataclasses import dataclass, field

from pinnace_agent.core import effects
from pinnace_agent.core.slot import Servable
from pinnace_agent.serving import Serving
from pinnace_agent.worker import events as worker_events
from pinnace_agent.worker.events import ExitCause, WorkerId, WorkerRef
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import Digest, ModelName, ReleaseId, VersionName, digest_of
from pinnace_contract.latest import (
    Arm,
    Block,
    ErrorCount,
    GoldenResult,
    LatencyCounts,
    Swap,
)

MODEL = ModelName("digits")
PASSED = GoldenResult(vectors=8, passed=True, max_abs=0.0)


def servable(name: str) -> Servable:
    return Servable(
        release=ReleaseId(digest_of(name.encode())),
        variant=digest_of(f"{name}-weights".encode()),
        version=VersionName(name),
    )


OLD, NEW = servable("1"), servable("2")


@dataclass
class World:
    """A host that notes orders, and a clock that a test moves."""

    now_s: float = 0.0
    orders: list[tuple[str, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    started: list[WorkerRef] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.serving = Serving(self, self._start, lambda: self.now_s)

    def _start(self, model: ModelName, release: ReleaseId, variant: Digest) -> WorkerRef:
        ref = WorkerRef(id=WorkerId(len(self.started) + 1), model=model, release=release, variant=variant)
        self.started.append(ref)
        self.orders.append(("start", name_of(ref)))
        return ref

    def open(self, model: ModelName, reason: str = "", retry_after_s: int = 5) -> None:
        self.reasons.append(reason)

    def self_test(self, worker: WorkerRef) -> None:
        self.orders.append(("self_test", name_of(worker)))

    def serve(self, worker: WorkerRef, arm: Arm = Arm.SERVING, slow_over_s: float | None = None) -> None:
        self.orders.append(("serve", name_of(worker)))

    def shadow(self, control: WorkerRef, candidate: WorkerRef, share_percent: int) -> None:
        self.orders.append(("shadow", f"{name_of(control)} to {name_of(candidate)}: {share_percent} %"))

    def split(
        self,
        front: WorkerRef,
        beside: WorkerRef,
        *,
        control_percent: int,
        beside_is_control: bool,
        slow_over_s: float | None = None,
    ) -> None:
        control = beside if beside_is_control else front
        asks = f"{name_of(front)} asks {name_of(beside)}"
        self.orders.append(("split", f"{asks}: {control_percent} % to {name_of(control)}"))

    def collect(self, worker: WorkerRef) -> None:
        self.orders.append(("collect", name_of(worker)))

    def stop(self, worker: WorkerRef, reason: str = "", retry_after_s: int = 5) -> None:
        self.orders.append(("stop", name_of(worker)))

    # what workers do

    def loads(self, n: int) -> None:
        self.serving.heard(
            worker_events.WorkerStarted(
                worker=self.started[n], load_ms=1.0, peak_memory_bytes=5, runtime="onnxruntime 1"
            )
        )

    def tests(self, n: int) -> None:
        self.serving.heard(
            worker_events.SelfTested(
                worker=self.started[n], result=PASSED, latency=LatencyCounts(), peak_memory_bytes=7, detail="", log=""
            )
        )

    def serves(self, n: int) -> None:
        self.serving.heard(worker_events.NowServing(worker=self.started[n], arm=Arm.SERVING, gap_ms=0.0))

    def answers(self, n: int) -> None:
        self.serving.heard(worker_events.NowAnswering(worker=self.started[n], arm=Arm.CANDIDATE))

    def exits(self, n: int, cause: ExitCause = ExitCause.CRASHED) -> None:
        self.serving.heard(
            worker_events.WorkerExited(
                worker=self.started[n], cause=cause, detail="signal 9", log="last words", loaded=True, served=True
            )
        )

    def running(self, aim: Servable) -> None:
        """Bring a release to answer, as at the start of the agent."""
        self.serving.act(effects.Serve(model=MODEL, servable=aim))
        self.loads(len(self.started) - 1)
        self.serves(len(self.started) - 1)
        self.orders.clear()
        self.serving.take()


def name_of(ref: WorkerRef) -> str:
    return "old" if ref.release == OLD.release else "new"


SPLIT = effects.Split(control=OLD, share_percent=20)


def activate(world: World, ticket: int = 5, split: effects.Split | None = SPLIT) -> None:
    world.serving.act(effects.Activate(model=MODEL, ticket=ticket, candidate=NEW, swap=Swap.OVERLAP, split=split))


def counted(world: World, n: int, of: Servable, arm: Arm, errors: int = 0, inferences: int = 10) -> Block:
    latency = Histogram()
    latency.add(0.01)
    return Block(
        model=MODEL,
        release=of.release,
        variant=of.variant,
        arm=arm,
        n=inferences,
        errors=(ErrorCount(name="runtime", n=errors),) if errors else (),
        latency=latency.to_wire(),
    )


def in_split() -> World:
    """The old one holds the socket as control; the new one is on trial beside it."""
    world = World()
    world.running(OLD)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=4, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(1)
    world.tests(1)
    activate(world)
    world.answers(1)
    world.serving.take()
    world.orders.clear()
    return world
