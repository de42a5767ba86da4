"""The smallest shell that is still one: it saves before it acts, fetches through the store, and runs no model.

What a daemon does in its loop stands here without threads and sockets, so that a test can kill it between any two
operations on its disk. ``Server.wanted`` is what would be published; ``bad`` are versions that fail self-test or trial.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from pinnace_agent.core import device, effects, events
from pinnace_agent.core.device import Change, DeviceState
from pinnace_agent.core.surroundings import Host, HostRuntime, Surroundings
from pinnace_agent.store import Store
from pinnace_agent.store_blobs import DigestMismatch
from pinnace_agent.store_port import Files
from pinnace_contract import codec
from pinnace_contract.ids import BootId, Digest, ModelName, ReleaseId, digest_of
from pinnace_contract.latest import (
    AssignmentSet,
    Blob,
    Cause,
    Chunk,
    Entry,
    GoldenResult,
    Intent,
    LatencySummary,
    Phase,
    Release,
    Runtime,
)
from tests.agent.core.scene import DEVICE, INCARNATION, MODEL, START_S, release, variant

PASSED = GoldenResult(vectors=3, passed=True, max_abs=0.0)
MISSED = GoldenResult(vectors=3, passed=False, max_abs=9.0)
BYTES_PER_CHUNK = 16
STEPS_MAX = 500


def content(name: str) -> bytes:
    return (f"content of {name}. " * 4).encode()


def chunked(name: str) -> Blob:
    data = content(name)
    pieces = [data[start : start + BYTES_PER_CHUNK] for start in range(0, len(data), BYTES_PER_CHUNK)]
    chunks = tuple(Chunk(digest=digest_of(piece), size_bytes=len(piece)) for piece in pieces)
    return Blob(digest=digest_of(data), size_bytes=len(data), chunks=chunks)


class Server:
    """Everything that can be fetched, and the set that is wanted now."""

    def __init__(self) -> None:
        self.releases: dict[ReleaseId, bytes] = {}
        self.blobs: dict[Digest, bytes] = {}
        self.wanted = AssignmentSet(device=DEVICE, generation=0, issued_at_s=1)
        self.versions: dict[str, tuple[ReleaseId, Digest]] = {}

    def register(self, number: int) -> None:
        weights, golden = f"weights {number}", f"golden {number}"
        made = replace(
            release(number, variants=(replace(variant(weights), blob=chunked(weights)),)),
        )
        made = replace(made, golden=replace(made.golden, blob=chunked(golden)))
        data = codec.to_json(made)
        self.releases[ReleaseId(digest_of(data))] = data
        self.blobs |= {chunked(name).digest: content(name) for name in (weights, golden)}
        self.versions[f"v{number}"] = (ReleaseId(digest_of(data)), made.variants[0].digest)

    def assign(self, version: str, *, generation: int, intent: Intent = Intent.UPGRADE) -> None:
        release_id, digest = self.versions[version]
        entry = Entry(model=MODEL, generation=generation, intent=intent, release=release_id, variants=(digest,))
        self.wanted = AssignmentSet(device=DEVICE, generation=generation, issued_at_s=1, entries=(entry,))


class Shell:
    """One run of an agent on a disk."""

    def __init__(
        self,
        files: Files,
        server: Server,
        *,
        boot: int,
        bad: frozenset[str] = frozenset(),
        saves: list[DeviceState] | None = None,
    ) -> None:
        self.store = Store(files)
        self.server = server
        self.bad = bad
        host = Host(
            device=DEVICE,
            boot=BootId(f"{boot:032x}"),
            hardware="rpi4",
            agent_version="0.1.0",
            runtimes=(HostRuntime(runtime=Runtime.ONNX, version="1.20"),),
        )
        self.around = Surroundings(host=host, unix_s=START_S, awake_s=0.0)
        self.queue: deque[tuple[ModelName, events.Event]] = deque()
        self.served: str | None = None
        self.saves = [] if saves is None else saves
        loaded = self.store.open()
        self.state = loaded.state if loaded else DeviceState(incarnation=INCARNATION)
        self.take(device.recover(self.state, self.around))

    def run(self) -> None:
        """Take the wanted set, then work until nothing is left to do."""
        self.take(device.accept_set(self.state, self.server.wanted, self.around))
        for _ in range(STEPS_MAX):
            while self.queue:
                model, event = self.queue.popleft()
                self.take(device.step(self.state, model, event, self.around))
            if all(slot.phase is Phase.IDLE for slot in self.state.slots):
                return
            self.around = replace(
                self.around, unix_s=self.around.unix_s + 10, awake_s=self.around.awake_s + 10, report_seq=5
            )
            self.take(device.tick(self.state, self.around))
            contact = events.ContactMade(boot=self.around.host.boot, seq_to=5)
            self.take(device.contact(self.state, contact, self.around))
        raise AssertionError(f"never came to rest: {[slot.phase for slot in self.state.slots]}")

    def take(self, change: Change) -> None:
        state = device.sealed(change, lambda receipt: codec.to_json(receipt))
        if change.save:
            self.store.save(state)
            self.saves.append(state)
        self.state = state
        for effect in change.effects:
            self.act(effect)

    def act(self, effect: effects.Effect) -> None:
        match effect:
            case effects.FetchRelease():
                self.store.add_release(effect.release, self.server.releases[effect.release])
                read = codec.from_json(Release, self.server.releases[effect.release])
                self.answer(effect, events.ReleaseRead(ticket=effect.ticket, release_id=effect.release, release=read))
            case effects.Fetch():
                self.fetch(effect)
            case effects.Verify():
                try:
                    self.store.finish(self.blobs_of(effect.release, effect.variant))
                except DigestMismatch as error:
                    self.answer(effect, events.VerifyFailed(ticket=effect.ticket, cause=error.cause))
                else:
                    self.answer(effect, events.Verified(ticket=effect.ticket))
            case effects.SelfTest():
                missed = effect.candidate.version in self.bad and effect.candidate.sequence % 2 == 0
                golden = MISSED if missed else PASSED
                self.answer(effect, events.SelfTested(ticket=effect.ticket, golden=golden))
            case effects.Activate():
                self.serve(effect.candidate.release, effect.candidate.variant)
                self.answer(effect, events.Activated(ticket=effect.ticket))
                exited = effect.candidate.version in self.bad
                key = {"release": effect.candidate.release, "variant": effect.candidate.variant}
                latency = LatencySummary(samples=100, p50_ms=1, p95_ms=2, p99_ms=3)
                self.answer(
                    effect,
                    events.WorkerExited(**key, cause=Cause.CRASHED)
                    if exited
                    else events.Served(**key, inferences=100, errors=0, latency=latency),
                )
            case effects.Revert():
                if effect.to is None:
                    self.served = None
                else:
                    self.serve(effect.to.release, effect.to.variant)
                self.answer(effect, events.Reverted(ticket=effect.ticket))
            case effects.Serve():
                self.serve(effect.servable.release, effect.servable.variant)
            case effects.Unload():
                self.served = None
            case effects.CollectGarbage():
                self.store.collect_garbage(device.kept(self.state))
            case effects.Replay() | effects.StopFetch() | effects.StopCandidate() | effects.SendReportNow():
                pass

    def answer(self, effect: effects.Effect, event: events.Event) -> None:
        self.queue.append((effect.model, event))

    def fetch(self, effect: effects.Fetch) -> None:
        for part in self.store.reserve(self.blobs_of(effect.release, effect.variant), device.kept(self.state)):
            data = self.server.blobs[part.blob.digest]
            for index in sorted(part.missing):
                start = part.offsets[index]
                self.store.put_chunk(part, index, data[start : start + BYTES_PER_CHUNK])
        self.answer(effect, events.Fetched(ticket=effect.ticket))

    def serve(self, release_id: ReleaseId, digest: Digest) -> None:
        """Load as a worker does: everything is hashed again. What is not whole is a bad state, not an event."""
        for blob in self.blobs_of(release_id, digest):
            assert self.store.has(blob), f"blob {blob.digest[:8]} is not there"
            self.store.finish([blob])
        self.served = str(self.release_of(release_id).version)

    def blobs_of(self, release_id: ReleaseId, digest: Digest) -> tuple[Blob, ...]:
        made = self.release_of(release_id)
        found = made.variant(digest)
        assert found is not None
        return made.blobs(found)

    def release_of(self, release_id: ReleaseId) -> Release:
        made = self.store.release(release_id)
        assert made is not None, f"release file {release_id[:8]} is not there"
        return made
