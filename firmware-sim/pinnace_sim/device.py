"""A simulated device: what lasts from one run of its agent to the next, and what is done to it from outside.

Owns identity, power and clocks. The agent itself is an ``AgentRun``; nothing but the disk goes from one run to the
next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pinnace_agent import identity as identities
from pinnace_agent import trust
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.events import Vetoed
from pinnace_agent.errors import AgentError
from pinnace_agent.requests import Request
from pinnace_agent.store import Store
from pinnace_agent.store_port import StorageError
from pinnace_agent.worker.events import ExitCause
from pinnace_contract.ids import DeviceId, IncarnationId, ModelName, ReleaseId
from pinnace_contract.latest import Enrolled, EnrolRequest, parse_claim_token
from pinnace_sim import chance as chances
from pinnace_sim.agent_run import AgentRun
from pinnace_sim.disk import Disk
from pinnace_sim.disk_trouble import DiskTrouble
from pinnace_sim.journal import Journal
from pinnace_sim.network import Network
from pinnace_sim.plan import DevicePlan, Nature
from pinnace_sim.schedule import Schedule
from pinnace_sim.watch import Watch

SURELY_CUT_S: Final = 2.0  # a power cut that waits for the disk's next operations does not wait longer
CLOCK_HEALED_S: Final = (600.0, 3_600.0)  # until the network tells the time again
START_AGAIN_S: Final = 5.0


class SimDevice:
    """One device of a world."""

    def __init__(
        self,
        plan: DevicePlan,
        seed: int,
        *,
        schedule: Schedule,
        network: Network,
        journal: Journal,
        counts: Counter[str],
        nature_of: Callable[[ReleaseId], Nature],
        watch: Watch,
    ) -> None:
        self.plan, self.name, self.seed = plan, plan.name, seed
        self.schedule, self.network, self.journal, self.counts = schedule, network, journal, counts
        self.nature_of, self.watch = nature_of, watch
        self.amount_of: Callable[[ReleaseId], float] = lambda _release: 0.0
        self.chance = chances.stream(seed, f"device {plan.name}")
        self.key = chances.DeviceKey(seed, plan.name)
        self.disk = Disk(capacity_bytes=plan.disk_bytes)
        self.id = DeviceId("")
        self.enrolled: tuple[trust.Trusted, identities.Identity] | None = None
        self.run: AgentRun | None = None
        self.skew_s = 0.0
        self.trouble = DiskTrouble(counts)
        self.answered: Counter[ReleaseId] = Counter()  # by its workers, to applications

    # --- enrolment ---------------------------------------------------------------------------------------------------

    def enrol(self, claim_text: str, ask: Callable[[EnrolRequest], Enrolled]) -> None:
        """Get an identity, as ``pinnace-agent enroll`` does, and write the store."""
        token = parse_claim_token(claim_text)
        incarnation = IncarnationId(chances.stream_hex(self.chance, 16))
        request = EnrolRequest(
            secret_hex=token.secret_hex,
            csr_pem=self.key.signing_request(),
            incarnation=incarnation,
            name=self.name,
            hardware=self.plan.hardware,
            agent_version=self.plan.agent_version,
            runtimes=self.plan.runtimes,
        )
        enrolled = ask(request)
        pins = (token.image_root, token.director_root)
        trusted = trust.first_trust(enrolled.image_roots, enrolled.director_roots, pins)
        who = identities.Identity(
            device=enrolled.device, server="http://server", endpoints=enrolled.endpoints, hardware=self.plan.hardware
        )
        self._make_store(incarnation, trusted, who)

    def twin(self) -> SimDevice:
        """Return another board with this one's key and identity, and a store of its own."""
        assert self.enrolled is not None, "only a device with an identity has a twin"
        twin = SimDevice(
            replace(self.plan, name=f"{self.name}-twin"),
            self.seed,
            schedule=self.schedule,
            network=self.network,
            journal=self.journal,
            counts=self.counts,
            nature_of=self.nature_of,
            watch=self.watch,
        )
        twin.key, twin.amount_of = self.key, self.amount_of
        twin._make_store(IncarnationId(chances.stream_hex(twin.chance, 16)), *self.enrolled)
        return twin

    def _make_store(self, incarnation: IncarnationId, trusted: trust.Trusted, who: identities.Identity) -> None:
        store = Store(self.disk)
        store.open()
        store.save(DeviceState(incarnation=incarnation))
        store.save_metadata(trust.UNIT, trust.to_files(trusted))
        identities.save(store, who)
        self.id, self.enrolled = who.device, (trusted, who)

    # --- power -------------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Start the agent with what the disk holds."""
        if self.run is not None:
            return
        self.trouble.operations_left = None
        try:
            self.run = AgentRun(self)
        except StorageError as error:  # the program ends with the error, and a service manager starts it again
            self.journal.write("boot_failed", self.name, problem=str(error))
            self.disk.before_each = None
            self.schedule.after(START_AGAIN_S, self.power_on)
            return
        except AgentError as error:
            self.watch.failed(self, error)
            return
        self.run.begin()

    def power_cut(self, off_s: float, before: str = "") -> None:
        """Lose the power now, and have it again later; ``before`` is what the disk was about to do."""
        if self.run is None:
            return
        self.journal.write("power_cut", self.name, operations=self.disk.operations, before=before)
        self._end_run()
        self.disk = self.disk.after_power_cut(self.chance)
        self.schedule.after(off_s, self.power_on)

    def power_cut_soon(self, off_s: float, operations: int, *, patient: bool = False) -> None:
        """Lose the power before the disk's next operation but so many; soon if it does nothing, unless ``patient``."""
        run = self.run
        if run is None:
            return
        self.trouble.operations_left = operations
        run.off_s = off_s
        if patient:
            return
        self.schedule.after(SURELY_CUT_S, lambda: self.power_cut(off_s) if self.run is run else None)

    def restart(self, off_s: float) -> None:
        """Stop the agent in order, as a service manager does, and start it again later."""
        run = self.run
        if run is None:
            return
        if not run.guarded(run.daemon.end):
            return
        self.journal.write("stopped", self.name)
        self._end_run()
        self.disk = self.disk.killed()
        self.schedule.after(off_s, self.power_on)

    def kill_worker(self, cause: ExitCause) -> bool:
        """Let the worker that serves die."""
        return self.run is not None and self.run.workers.kill(cause)

    def retire(self) -> None:
        """Lose the power for good."""
        self.journal.write("retired", self.name)
        self._end_run()

    def veto(self, model: ModelName, seconds: float) -> bool:
        """Let an application ask not to be disturbed; tell whether there was a run to ask."""
        if self.run is not None:
            self.run.hear(Request(model=model, event=Vetoed(seconds=seconds, reason="an application is busy")))
        return self.run is not None

    def _end_run(self) -> None:
        run, self.run = self.run, None
        if run is not None:
            run.off()
        self.trouble.operations_left = None

    # --- clocks ------------------------------------------------------------------------------------------------------

    def jump_clock(self, seconds: float, lasts_s: float = 0.0) -> None:
        """Let the board's clock be wrong by so much for so long; 0 is a while."""
        self.skew_s = seconds
        self.schedule.after(lasts_s or self.chance.uniform(*CLOCK_HEALED_S), self._heal_clock)

    def start_in_1970(self, off_s: float, lasts_s: float = 0.0) -> None:
        """Lose the power on a board whose clock has no battery."""
        self.power_cut(off_s)
        self.jump_clock(-self.schedule.origin_s - self.schedule.now_s, lasts_s)

    def slow_down(self, seconds: float) -> bool:
        """Let inference be slow for a while; tell whether there is a run."""
        if self.run is not None:
            self.run.workers.slow_until_s = self.schedule.now_s + seconds
        return self.run is not None

    def be_calm(self) -> None:
        """Let nothing go wrong any more."""
        self.trouble.be_calm()
        self.skew_s = 0.0
        self.power_on()

    def _heal_clock(self) -> None:
        self.skew_s = 0.0
