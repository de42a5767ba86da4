"""A server of a few lines for one real agent process over a real broker: it signs, sends chunks and acknowledges.

It has no scruples, so tests can make it send exactly the wrong thing. The real server is tested in ``tests/e2e``.
"""

from __future__ import annotations

import dataclasses
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import paho.mqtt.client as paho
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from paho.mqtt.enums import CallbackAPIVersion

from pinnace_agent import identity as identities
from pinnace_agent import status, trust
from pinnace_agent.adapters.filesystem import Directory
from pinnace_agent.adapters.keys_file import DeviceKey
from pinnace_agent.store import IDENTITY, Store
from pinnace_contract import codec, envelope, topics
from pinnace_contract.ids import DeviceId, Digest, KeyId, ReleaseId, digest_of
from pinnace_contract.latest import (
    CHUNK_BYTES_MAX,
    Ack,
    AssignmentSet,
    Command,
    ContactPolicy,
    Data,
    Entry,
    MessageKey,
    Presence,
    Receipt,
    Release,
    Report,
    Reported,
    ReportRange,
    TrialMode,
    TrialPolicy,
    Want,
)
from tests.agent.repository import Side, target
from tests.agent.worker.building import OnDisk

DEVICE = DeviceId("camera-07")
PATIENCE_S = 60.0  # a limit for a broken test, not a time that anything should take
NO_TRIAL = TrialPolicy(mode=TrialMode.NONE)

T = TypeVar("T")


def until(what: str, found: Callable[[], T | None]) -> T:
    """Return the first thing that is found; a condition, not a sleep, decides when to go on."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        result = found()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError(f"never seen: {what}")


class TinyServer:
    """The server side of one device."""

    def __init__(self, url: str) -> None:
        self.image, self.director = Side(), Side()
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.message_key = MessageKey(keyid=KeyId(digest_of(public)), public_hex=public.hex())
        self.releases: dict[ReleaseId, Release] = {}
        self.files: dict[Digest, bytes] = {}
        self.chunks: dict[Digest, list[bytes]] = {}
        self.spoil: Callable[[Data], Data | None] = lambda data: data
        self.acknowledging = True
        self.receipts: dict[str, Receipt] = {}
        self.reports: list[Report] = []
        self.reported: Reported | None = None
        self.presence: Presence | None = None
        self.sent_chunks = 0
        self.versions = 0
        host, _, port = url.removeprefix("mqtt://").partition(":")
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="tiny-server", protocol=paho.MQTTv311)
        self._work: queue.Queue[tuple[str, bytes] | None] = queue.Queue()
        self._client.on_connect = lambda client, *_: client.subscribe(topics.server_filters()[0], qos=1)
        self._client.on_message = lambda _client, _data, message: self._work.put((message.topic, message.payload))
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(host, int(port))
        self._client.loop_start()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self._publish_roots()

    def close(self) -> None:
        self._work.put(None)
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    # --- what a test does ------------------------------------------------------------------------------------------

    def add(self, on_disk: OnDisk, *, sequence: int, epoch: int = 0, **changes: Any) -> Release:
        """List a release in the image repository and be ready to send its files."""
        release = dataclasses.replace(on_disk.release, sequence=sequence, epoch=epoch, **changes)
        data = codec.to_json(release)
        self.releases[ReleaseId(digest_of(data))] = release
        self.chunks[digest_of(data)] = [data[i : i + CHUNK_BYTES_MAX] for i in range(0, len(data), CHUNK_BYTES_MAX)]
        for digest, path in on_disk.start.blobs.items():
            content = path.read_bytes()
            self.chunks[digest] = [content[i : i + CHUNK_BYTES_MAX] for i in range(0, len(content), CHUNK_BYTES_MAX)]
        self.publish_image()
        return release

    def entry(self, release: Release, generation: int, **fields: Any) -> Entry:
        data = codec.to_json(release)
        given: dict[str, Any] = {"trial": NO_TRIAL, "contact": ContactPolicy()} | fields
        return Entry(
            model=release.model,
            generation=generation,
            release=ReleaseId(digest_of(data)),
            release_size_bytes=len(data),
            variants=tuple(variant.digest for variant in release.variants),
            **given,
        )

    def assign(self, generation: int, *entries: Entry, side: Side | None = None, **fields: Any) -> None:
        """Sign a set and publish it as the device's ``desired``."""
        given: dict[str, Any] = {"device": DEVICE, "message_keys": (self.message_key,)} | fields
        wanted = AssignmentSet(generation=generation, issued_at_s=int(time.time()), entries=entries, **given)
        self.publish_desired(self.desired(wanted, side or self.director))

    def desired(self, wanted: AssignmentSet, side: Side) -> bytes:
        from pinnace_contract.desired import ASSIGNMENT_FIELD, Desired

        self.versions += 1
        listed = dict(target(self.releases[entry.release]) for entry in wanted.entries if entry.release)
        stamp, shot, aims = side.files(
            listed,
            version=self.versions,
            fields={ASSIGNMENT_FIELD: codec.plain(wanted)},
            expires_s=time.time() + 86_400,
        )
        return Desired(timestamp=stamp, snapshot=shot, targets=aims).to_bytes()

    def publish_desired(self, payload: bytes) -> None:
        self.publish(topics.DownTopic(device=DEVICE, channel=topics.Down.DESIRED), payload, retained=True)

    def publish_image(self) -> None:
        self.versions += 1
        listed = dict(target(release) for release in self.releases.values())
        stamp, shot, aims = self.image.files(listed, version=self.versions, expires_s=time.time() + 86_400)
        self.publish(topics.MetadataTopic(role="targets", version=self.versions), aims, retained=True)
        self.publish(topics.MetadataTopic(role="snapshot", version=self.versions), shot, retained=True)
        self.publish(topics.TimestampTopic(), stamp, retained=True)

    def command(self, command: Command) -> None:
        topic = topics.CommandTopic(device=DEVICE, command=command.command)
        self.publish(topic, envelope.seal(command, self.message_key.keyid, self._key.sign))

    def publish(self, topic: topics.Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None:
        self._client.publish(str(topic), payload, qos=qos, retain=retained)

    def receipt(self, generation: int, outcome: str | None = None) -> Receipt | None:
        """Return what the device said of this generation, newest last."""
        found = [
            each for each in self.receipts.values() if each.generation == generation and outcome in (None, each.outcome)
        ]
        return found[-1] if found else None

    def wait_for_receipt(self, generation: int) -> Receipt:
        return until(f"a receipt for generation {generation}", lambda: self.receipt(generation))

    # --- serving ---------------------------------------------------------------------------------------------------

    def _publish_roots(self) -> None:
        for repository, side in ((topics.Repository.IMAGE, self.image), (topics.Repository.DIRECTOR, self.director)):
            self.publish(topics.RootTopic(repository=repository, version=1), side.roots[0], retained=True)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            topic = topics.parse(work[0])
            assert isinstance(topic, topics.UpTopic | topics.ResultTopic)
            if isinstance(topic, topics.UpTopic):
                self._take(topic.channel, work[1])

    def _take(self, channel: topics.Up, payload: bytes) -> None:
        match channel:
            case topics.Up.WANT:
                self._send(self._open(Want, payload))
            case topics.Up.RECEIPT:
                receipt = self._open(Receipt, payload)
                self.receipts[receipt.id] = receipt
                self._acknowledge(receipt.incarnation, receipts=(receipt.id,))
            case topics.Up.REPORT:
                report = self._open(Report, payload)
                self.reports.append(report)
                covered = ReportRange(boot=report.boot, seq_from=report.seq_from, seq_to=report.seq_to)
                self._acknowledge(report.incarnation, reports=(covered,))
            case topics.Up.REPORTED:
                self.reported = self._open(Reported, payload)
            case topics.Up.STATE:
                self.presence = self._open(Presence, payload)

    def _open(self, kind: type[T], payload: bytes) -> T:
        found: T = envelope.unseal(kind, payload, lambda *_: None)  # type: ignore[type-var]
        return found

    def _send(self, want: Want) -> None:
        pieces = self.chunks.get(want.blob, [])
        missing = [i for i in range(len(pieces)) if want.missing[i // 8] >> i % 8 & 1]
        for index in missing[: want.window]:
            data = self.spoil(Data(blob=want.blob, index=index, payload=pieces[index]))
            if data is not None:
                self.sent_chunks += 1
                self.publish(topics.DownTopic(device=DEVICE, channel=topics.Down.DATA), data.to_bytes(), qos=0)

    def _acknowledge(self, incarnation: Any, **what: Any) -> None:
        if self.acknowledging:
            now = time.time()
            ack = Ack(device=DEVICE, incarnation=incarnation, at_s=now, expires_s=now + 3600, **what)
            topic = topics.DownTopic(device=DEVICE, channel=topics.Down.ACK)
            self.publish(topic, envelope.seal(ack, self.message_key.keyid, self._key.sign))


class Agent:
    """One agent process and its store."""

    def __init__(self, folder: Path, server: TinyServer, url: str) -> None:
        self.store, self.url = folder / "store", url
        self.run_dir = folder / "run"
        self.log_path = folder / "agent.log"
        self._enrol(server)
        self.process: subprocess.Popen[bytes] | None = None

    def _enrol(self, server: TinyServer) -> None:
        store = Store(Directory(self.store))
        store.open()
        store.save(identities.new_state())
        DeviceKey.load_or_make(self.store / IDENTITY / identities.KEY_FILE)
        trusted = trust.first_trust(
            server.image.roots,
            server.director.roots,
            (digest_of(server.image.roots[0]), digest_of(server.director.roots[0])),
        )
        store.save_metadata(trust.UNIT, trust.to_files(trusted))
        identities.save(
            store,
            identities.Identity(device=DEVICE, server="http://127.0.0.1:1", endpoints=(self.url,), hardware="test"),
        )

    def start(self, *options: str) -> None:
        command = [
            *(sys.executable, "-m", "pinnace_agent", "run", "--store", str(self.store), "--run-dir", str(self.run_dir)),
            *("--report-every-s", "1", "--log-level", "info", *options),
        ]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """As a power cut, as far as a process can see."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """As a service manager."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    @property
    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def state(self) -> dict[str, Any]:
        """The saved state, as the disk has it."""
        found: dict[str, Any] = json.loads((self.store / "state.json").read_text())["state"]
        return found

    def status(self) -> dict[str, Any] | None:
        try:
            return status.fetch(self.run_dir)
        except status.NotRunning:
            return None
