"""A fleet with one rollout in waves, as rows: what a server's database holds once everybody enrolled, took the first
version, reported for a day, and the second one is on its way.

Rows are written by the repositories, in one transaction, in the place of messages. The default policy: the wave of
5 % is promoted; that of 25 % began an hour ago, half of it committed, as many are under way as the budget lets, and the
others wait. One device in twenty is offline. Each arm's spokesmen have a day of ten-minute stretches.

With ``site_atomic`` the same goes by whole sites: those that keep the release were told to, and of each that is under
way all devices are prepared but one.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import (
    BootId,
    DeviceId,
    IncarnationId,
    KeyId,
    ModelName,
    ReleaseId,
    RolloutId,
    VersionName,
    digest_of,
)
from pinnace_contract.latest import (
    AssignmentSet,
    Endpoint,
    Entry,
    Health,
    Intent,
    MessageKey,
    ModelState,
    Outcome,
    Phase,
    Receipt,
    Running,
    Runtime,
    SiteVerdict,
)
from pinnace_server.domain import waves
from pinnace_server.domain.gates.evidence import Counts as Trials
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.packed_histogram import PackedHistogram
from pinnace_server.domain.policy import PLAIN_TERMS
from pinnace_server.domain.ramp import Wave
from pinnace_server.domain.records import (
    Assignment,
    Counts,
    DesiredSet,
    Device,
    DeviceState,
    Member,
    MemberState,
    ReceiptRecord,
    Rollout,
    RolloutState,
    Slot,
    Version,
)
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.rollout_policy.policy import SITE_LABEL, RolloutPolicy, SiteAtomic
from pinnace_server.domain.sites import SiteRuling
from pinnace_server.domain.stretches import Stretch
from pinnace_server.domain.waves import Candidate
from pinnace_server.domain.witness import PAST, STRETCH_S
from pinnace_server.service import observing, rules
from pinnace_server.service.ports import Tables
from planner_tick import CANARY, SITE_ATOMIC

MODEL = ModelName("detect")
FIRST, SECOND = RolloutId("r-first"), RolloutId("r-second")
NOW_S = 1_795_435_200.0
WAVE_AGE_S = 3_600.0
REPORT_EVERY_S = 600
A_SITE = 10  # devices
OFFLINE = 20  # one device in so many
SPEAKING = 250  # of each arm: as many as are asked, and some that drop out
ANSWERS = 600  # in ten minutes
UNDER_WAY_WAVE = 2
_NOT_YET = {"exposure": {"duration_s": 86_400}}  # half of the wave's sites are whole, which would be proof enough
POLICIES = {
    CANARY: reading.read({"cohort": ""}),
    SITE_ATOMIC: reading.read({"cohort": "", "strategy": SITE_ATOMIC, "gates": _NOT_YET}),
}
_PEM = "-----BEGIN PUBLIC KEY-----\n" + ("M" * 64 + "\n") * 2 + "-----END PUBLIC KEY-----\n"
_HARDWARE = ("pi4", "pi5", "orin", "imx8")
_HEALTH_BYTES = 8 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One device: who it is, where it stands in the rollout, and when it was heard."""

    number: int
    wave: int
    state: MemberState
    generation: int
    heard_s: float | None

    @property
    def device(self) -> DeviceId:
        """Its name."""
        return name_of(self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What every set carries."""

    first: Version
    second: Version
    endpoints: tuple[Endpoint, ...]
    key: MessageKey
    policy: RolloutPolicy

    @property
    def lease_s(self) -> int:
        """How long a device that is prepared waits for its site; 0: sites do not move whole."""
        return self.policy.strategy.lease_s if isinstance(self.policy.strategy, SiteAtomic) else 0


def name_of(number: int) -> DeviceId:
    """Return the name of a device."""
    return DeviceId(f"d-{digest_of(str(number).encode())[:16]}")


def places(devices: int, policy: RolloutPolicy) -> list[Place]:
    """Deal the fleet into the policy's waves, as a rollout that begins does."""
    candidates = [_candidate(number) for number in range(devices)]
    dealt = waves.deal(SECOND, policy, candidates)
    most = policy.budgets.devices_in_flight_max
    assert most is not None
    sizes, taken, under_way = Counter(dealt.values()), 0, 0
    found: list[Place] = []
    for number, each in enumerate(candidates):
        wave, online = dealt[each.device], number % OFFLINE != 0
        state = MemberState.WAITING
        if wave < UNDER_WAY_WAVE and online:
            state = MemberState.COMMITTED
        elif wave == UNDER_WAY_WAVE and online:
            taken += 1
            if taken <= sizes[wave] // 2:
                state = MemberState.COMMITTED
            elif under_way < most:
                state, under_way = MemberState.ASSIGNED, under_way + 1
        heard_s = NOW_S - number % REPORT_EVERY_S if online else NOW_S - 90_000.0
        found.append(Place(number=number, wave=wave, state=state, generation=1 + number % 7, heard_s=heard_s))
    return found


def fill(tables: Tables, told: Told, everybody: Sequence[Place]) -> None:
    """Write the whole fleet and both rollouts."""
    _rollouts(tables, told, everybody)
    for site in sorted({_site(each.number) for each in everybody if each.state is MemberState.COMMITTED}):
        if told.lease_s:
            tables.rollouts.add_site_ruling(SECOND, _told_to_commit(site))
    for place in everybody:
        tables.devices.save(_device(place))
        tables.rollouts.save_members([_member(FIRST, place, told.first, MemberState.COMMITTED, NOW_S - 200_000.0)])
        tables.receipts.add(_receipt(place, told.first, place.generation, NOW_S - 200_000.0))
        tables.rollouts.add_evidence(FIRST, place.device, _counts(1_000))
        put(tables, told, place)
    _stretches(tables, told, everybody)


def put(tables: Tables, told: Told, place: Place) -> None:
    """Write how far one device is with the second version."""
    on_it = place.state is not MemberState.WAITING
    committed = place.state is MemberState.COMMITTED
    changed_s = NOW_S - WAVE_AGE_S / 2
    member = _member(SECOND, place, told.second, place.state, changed_s)
    generation = place.generation + on_it
    tables.rollouts.save_members([replace(member, generation=generation) if on_it else member])
    version = told.second if on_it else told.first
    entry = _entry(version, SECOND if on_it else FIRST, generation)
    if on_it and told.lease_s:
        entry = replace(entry, site_atomic=True, site=_site(place.number), lease_s=told.lease_s)
    ended = Outcome.COMMITTED if committed or not on_it else None
    tables.assignments.save(
        Assignment(
            device=place.device,
            model=MODEL,
            entry=entry,
            rollout=entry.rollout or FIRST,
            actor="benchmark",
            assigned_at_s=changed_s if on_it else NOW_S - 200_000.0,
            before=_running(told.first) if on_it else None,
            outcome=ended,
            ended_at_s=changed_s if ended else None,
        )
    )
    tables.assignments.save_desired(_desired(told, place, entry))
    tables.devices.save_slots(place.device, [_slot(told, place, generation)])
    if committed:
        tables.receipts.add(_receipt(place, told.second, generation, changed_s))
        tables.rollouts.add_evidence(SECOND, place.device, _counts(60))


def commit(tables: Tables, told: Told, place: Place, at_s: float) -> Receipt:
    """Write what a device that was under way says when it keeps the release; return its receipt."""
    record = _receipt(place, told.second, place.generation + 1, at_s)
    tables.receipts.add(record)
    now = replace(place, state=MemberState.COMMITTED)
    tables.devices.save_slots(place.device, [_slot(told, now, place.generation + 1)])
    return record.body


def prepare(tables: Tables, told: Told, place: Place) -> None:
    """Write that a device under way is prepared, as its next message says."""
    tables.devices.save_slots(place.device, [_prepared(_slot(told, place, place.generation + 1), told)])


def last_of_its_site(place: Place) -> bool:
    """Tell whether a device is the one that the others of a site under way wait for; every second site waits for one
    that is away."""
    return place.state is MemberState.ASSIGNED and place.number % OFFLINE == OFFLINE - 1


def waiting_again(place: Place) -> Place:
    """Return a device as it stood before the wave under way began."""
    return replace(place, state=MemberState.WAITING) if place.wave == UNDER_WAY_WAVE else place


# --- rollouts -----------------------------------------------------------------------------------------------------


def _rollouts(tables: Tables, told: Told, everybody: Sequence[Place]) -> None:
    terms = observing.terms_text(PLAIN_TERMS)
    first = Rollout(
        id=FIRST,
        model=MODEL,
        version=told.first.version,
        release=told.first.release,
        intent=Intent.UPGRADE,
        policy=terms,
        state=RolloutState.FINISHED,
        actor="benchmark",
        created_at_s=NOW_S - 300_000.0,
        ended_at_s=NOW_S - 200_000.0,
    )
    second = replace(
        first,
        id=SECOND,
        version=told.second.version,
        release=told.second.release,
        rules=rules.text_of(told.policy),
        state=RolloutState.ACTIVE,
        created_at_s=NOW_S - 30_000.0,
        ended_at_s=None,
    )
    for each in (first, second):
        tables.rollouts.save(each)
    for wave in waves_of(everybody, told.policy):
        tables.rollouts.save_wave(SECOND, wave)


def waves_of(everybody: Sequence[Place], policy: RolloutPolicy) -> Iterator[Wave]:
    """Yield the waves: those before are promoted, one began an hour ago."""
    sizes = Counter(place.wave for place in everybody)
    for number in range(1, waves.holdback_number(policy) + 1):
        wave = Wave(number=number, devices=sizes[number])
        if number < UNDER_WAY_WAVE:
            wave = replace(wave, started_at_s=NOW_S - 25_000.0, switched_at_s=NOW_S - 24_000.0)
            wave = replace(wave, promoted_at_s=NOW_S - WAVE_AGE_S, promoted_by="proven")
        elif number == UNDER_WAY_WAVE:
            wave = replace(wave, started_at_s=NOW_S - WAVE_AGE_S)
        yield wave


def _told_to_commit(site: str) -> SiteRuling:
    return SiteRuling(
        site=site,
        verdict=SiteVerdict.COMMIT,
        why="every device of it is prepared",
        decided_at_s=NOW_S - WAVE_AGE_S / 2,
        prepared=A_SITE,
        counted=A_SITE,
    )


# --- one device ---------------------------------------------------------------------------------------------------


def _candidate(number: int) -> Candidate:
    return Candidate(device=name_of(number), hardware=_HARDWARE[number % len(_HARDWARE)], site=_site(number))


def _site(number: int) -> str:
    return f"plant-{number // A_SITE:05}"


def _incarnation(place: Place) -> IncarnationId:
    return IncarnationId(digest_of(f"store {place.number}".encode())[:32])


def _device(place: Place) -> Device:
    number, online = place.number, place.number % OFFLINE != 0
    moved = place.state is not MemberState.WAITING
    generation = place.generation + moved
    return Device(
        id=place.device,
        name=f"camera-{number}",
        serial=f"SN{number:08}",
        key=KeyId(digest_of(f"key {number}".encode())),
        public_key_pem=_PEM,
        state=DeviceState.ACTIVE,
        labels={SITE_LABEL: _site(number), "line": str(number % 40), "zone": "Europe/Berlin"},
        reported_labels={"os": "linux"},
        hardware=_HARDWARE[number % len(_HARDWARE)],
        runtimes=(Runtime.ONNX,),
        agent_version="0.1.0",
        incarnation=_incarnation(place),
        generation=generation,
        enrolled_at_s=NOW_S - 400_000.0,
        online=online,
        silent=not online,
        boot=BootId(digest_of(f"boot {number}".encode())[:32]),
        connection=1,
        report_every_s=REPORT_EVERY_S,
        seen_at_s=place.heard_s,
        reported_generation=generation,
        reported_seq=10,
        updating=place.state is MemberState.ASSIGNED,
        p95_ms=10.0 + number % 5,
        health=Health(
            cpu_share=(number % 97) / 100,
            memory_free_bytes=_HEALTH_BYTES // 2 + number,
            disk_free_bytes=_HEALTH_BYTES * 4 + number,
            temperature_c=40.0 + number % 20,
            memory_total_bytes=_HEALTH_BYTES,
        ),
        health_at_s=place.heard_s,
    )


def _member(rollout: RolloutId, place: Place, version: Version, state: MemberState, changed_s: float) -> Member:
    return Member(
        rollout=rollout,
        device=place.device,
        wave=place.wave if rollout == SECOND else 0,
        release=version.release,
        variants=version.variants,
        state=state,
        generation=place.generation if rollout == FIRST else 0,
        changed_at_s=changed_s,
    )


def _running(version: Version) -> Running:
    return Running(
        release=version.release, variant=version.variants[0], version=version.version, sequence=version.sequence
    )


def _entry(version: Version, rollout: RolloutId, generation: int) -> Entry:
    return Entry(
        model=MODEL,
        generation=generation,
        attempt=1,
        intent=Intent.UPGRADE,
        release=version.release,
        release_size_bytes=version.size_bytes,
        variants=version.variants,
        rollout=rollout,
    )


def _desired(told: Told, place: Place, entry: Entry) -> DesiredSet:
    assignments = AssignmentSet(
        device=place.device,
        incarnation=_incarnation(place),
        generation=entry.generation,
        issued_at_s=int(NOW_S),
        entries=(entry,),
        endpoints=told.endpoints,
        message_keys=(told.key,),
    )
    return DesiredSet(device=place.device, assignments=assignments, signed_at_s=NOW_S)


def _slot(told: Told, place: Place, generation: int) -> Slot:
    committed, under_way = place.state is MemberState.COMMITTED, place.state is MemberState.ASSIGNED
    state = ModelState(
        model=MODEL,
        generation=generation,
        phase=Phase.FETCHING if under_way else Phase.IDLE,
        current=_running(told.second if committed else told.first),
        candidate=_running(told.second) if under_way else None,
        last_good=(_running(told.first),) if committed else (),
        fetched_bytes=place.number if under_way else 0,
    )
    slot = Slot(
        device=place.device, model=MODEL, state=state, incarnation=_incarnation(place), seq=10, said_at_s=NOW_S - 60
    )
    return _prepared(slot, told) if under_way and told.lease_s and not last_of_its_site(place) else slot


def _prepared(slot: Slot, told: Told) -> Slot:
    state = replace(slot.state, phase=Phase.PREPARED, lease_left_s=told.lease_s, fetched_bytes=0)
    return replace(slot, state=state, lease_until_s=NOW_S + told.lease_s)


def _receipt(place: Place, version: Version, generation: int, at_s: float) -> ReceiptRecord:
    body = Receipt(
        device=place.device,
        incarnation=_incarnation(place),
        counter=generation,
        boot=BootId(digest_of(f"boot {place.number}".encode())[:32]),
        model=MODEL,
        generation=generation,
        attempt=1,
        outcome=Outcome.COMMITTED,
        release=version.release,
        variant=version.variants[0],
        version=VersionName(version.version),
        at_s=at_s,
    )
    return ReceiptRecord(id=body.id, body=body, envelope=bytes(600), received_at_s=at_s)


def _counts(n: int) -> Counts:
    return Counts(n=n, errors=n // 100, predictions=n, below=n // 50)


# --- what the gates read ------------------------------------------------------------------------------------------


def _stretches(tables: Tables, told: Told, everybody: Sequence[Place]) -> None:
    last = int(NOW_S // STRETCH_S)
    switched = int((NOW_S - WAVE_AGE_S / 2) // STRETCH_S)
    moved = (place for place in everybody if place.wave == UNDER_WAY_WAVE and place.state is MemberState.COMMITTED)
    behind = (place for place in everybody if place.wave > UNDER_WAY_WAVE)
    for arm, on_it in ((moved, True), (behind, False)):
        for place in _first(arm):
            for number in range(last - PAST - 6, last + 1):
                release = told.second.release if on_it and number >= switched else told.first.release
                tables.reports.save_stretch(_stretch(place, release, number))
                tables.reports.count_arrival(place.device, number, 1)


def _first(arm: Iterable[Place]) -> list[Place]:
    """Return those of an arm that are asked: the evidence takes the smallest hashes."""
    return sorted(arm, key=lambda place: (zlib.crc32(place.device.encode()), place.device))[:SPEAKING]


def _stretch(place: Place, release: ReleaseId, number: int) -> Stretch:
    seen = Histogram()
    for step in range(60):
        seen.add(0.008 * (1 + (step * 7 + place.number + number) % 30 / 20))
    latency = Histogram({bucket: n * ANSWERS // 60 for bucket, n in seen.buckets.items()})
    bad = (place.number + number) % 7 == 0
    return Stretch(
        device=place.device,
        model=MODEL,
        release=release,
        number=number,
        errors=Tally(counts=Trials(trials=ANSWERS, bad=int(bad), fresh_trials=float(ANSWERS), fresh_bad=int(bad))),
        latency=PackedHistogram.of(latency),
        predictions=ANSWERS,
        below=ANSWERS // 50,
    )
