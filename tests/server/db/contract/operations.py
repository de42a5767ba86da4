"""Random changes out of small pools, so that they meet; and everything that can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from random import Random
from typing import Final, TypeAlias

from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import BootId, IncarnationId, RolloutId, VersionName
from pinnace_contract.latest import Arm, Intent, Outcome, Receipt, SiteVerdict, WithdrawMode
from pinnace_server.domain import selector
from pinnace_server.domain.aliases import AliasRule, Approval, Means, Pointing
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.lineage import Origin
from pinnace_server.domain.packed_histogram import PackedHistogram
from pinnace_server.domain.queries import (
    DeviceOrder,
    DeviceQuery,
    EventQuery,
    Page,
    ReceiptQuery,
    RolloutQuery,
)
from pinnace_server.domain.ramp import Agreement, Wave
from pinnace_server.domain.records import (
    AliasName,
    Counts,
    DeviceState,
    EventKind,
    Job,
    JobState,
    MemberState,
    Minute,
    RolloutState,
    Severity,
    Slot,
    Status,
    TokenId,
    Withdrawal,
)
from pinnace_server.domain.sites import SiteRuling
from pinnace_server.service.ports import Tables
from tests.server.db.contract.rows import (
    BOOT,
    DIGITS,
    FIRST,
    NOW,
    SECOND,
    WORDS,
    assignment,
    blob,
    camera,
    claim,
    desired,
    device,
    digest,
    event,
    incarnation,
    job,
    member,
    minute,
    model,
    receipt,
    received,
    release,
    rollout,
    slot,
    stretch,
    version,
)

Change: TypeAlias = Callable[[Tables], object]

DEVICES: Final = (1, 2, 3, 4)
MODELS: Final = (DIGITS, WORDS)
NAMES: Final = ("1", "2", "3")
ROLLOUTS: Final = ("r1", "r2", "r3")
STORES: Final = (FIRST, SECOND)
BOOTS: Final = (BOOT, BootId("c" * 32))
ALIASES: Final = (AliasName("stable"), AliasName("next"))
PEOPLE: Final = ("ann", "bob")
EVERY: Final = Page(limit=1000)


def changes(chance: Random) -> Change:
    """Draw one change; the same for whichever database it is then made to."""
    return chance.choice(_DRAWS)(chance)


def _catalogue(c: Random) -> Change:
    of, name, alias = c.choice(MODELS), c.choice(NAMES), c.choice(ALIASES)
    made = version(name, c.randint(1, 5), of=of, release=release(c.choice(["x", "y", "z", f"{of} {name}"])))
    archived_at_s = c.choice([None, NOW])
    withdrawal = Withdrawal(
        mode=c.choice([WithdrawMode.RETIRE, WithdrawMode.STOP]),
        at_s=NOW + c.randint(0, 1),
        actor="ann",
        reason=name,
        least_next_epoch=c.randint(0, 3),
    )
    kinds: list[Change] = [
        lambda tables: tables.models.add(model(of)),
        lambda tables: tables.models.describe(of, name),
        lambda tables: tables.models.point(of, alias, VersionName(name)),
        lambda tables: tables.models.unpoint(of, alias),
        lambda tables: tables.versions.add(made),
        lambda tables: tables.versions.add(made),
        lambda tables: tables.versions.list_blob(blob(name)),
        lambda tables: tables.versions.archive(of, VersionName(name), archived_at_s),
        lambda tables: tables.versions.withdraw(of, VersionName(name), withdrawal),
        lambda tables: tables.versions.add_origin(Origin(model=of, version=VersionName(name), kept=True)),
        lambda tables: tables.models.archive(of, archived_at_s),
        lambda tables: tables.models.require_card(of, ("a", "b")),
    ]
    return c.choice(kinds)


def _alias(c: Random) -> Change:
    of, name, alias, person = c.choice(MODELS), VersionName(c.choice(NAMES)), c.choice(ALIASES), c.choice(PEOPLE)
    at_s, number = NOW + c.randint(0, 2), c.randint(1, 3)
    begun = Pointing(model=of, alias=alias, version=name, from_s=at_s, actor=person, means=c.choice(list(Means)))
    rule = AliasRule(model=of, alias=alias, source=c.choice(ALIASES), rollout=c.random() < 0.5, approvals=1)
    approval = Approval(model=of, alias=alias, version=name, person=person, at_s=at_s)

    def moved(tables: Tables) -> int:
        tables.aliases.end(of, alias, at_s=at_s, actor=person, reason="why")
        return tables.aliases.begin(begun)

    kinds: list[Change] = [
        moved,
        moved,
        lambda tables: tables.aliases.begin(begun),
        lambda tables: tables.aliases.end(of, alias, at_s=at_s, actor=person, reason=""),
        lambda tables: tables.aliases.save_rule(rule),
        lambda tables: tables.aliases.remove_rule(of, alias),
        lambda tables: tables.aliases.approve(approval),
        lambda tables: tables.aliases.approve(approval),
        lambda tables: tables.aliases.withdraw(of, alias, name, person),
        lambda tables: tables.aliases.use(of, alias, name, number),
    ]
    return c.choice(kinds)


def _device(c: Random) -> Change:
    n = c.choice(DEVICES)
    said = device(
        n,
        name=c.choice(["", "hall", "Attic"]),
        key=device(n if c.random() < 0.9 else c.choice(DEVICES)).key,
        state=c.choice([DeviceState.ACTIVE, *DeviceState]),
        incarnation=c.choice(STORES),
        labels={key: c.choice(["a", "b"]) for key in ("site", "class") if c.random() < 0.5},
        online=c.random() < 0.8,
        silent=c.random() < 0.2,
        seen_at_s=c.choice([None, NOW, NOW - 50, NOW - 200, NOW - 1000]),
        degraded=c.random() < 0.3,
        updating=c.random() < 0.3,
        p95_ms=c.choice([None, 1.0, 2.0]),
        agent_version=c.choice(["", "1", "2"]),
        unadopted=c.random() < 0.2,
    )
    return lambda tables: tables.devices.save(said)


def _said(c: Random) -> Change:
    n = c.choice(DEVICES)
    spoke = incarnation(n, c.choice(STORES), float(c.randint(1, 2)))
    slots: list[Slot] = [slot(n, of, c.choice([None, *NAMES])) for of in MODELS if c.random() < 0.6]
    if c.random() < 0.5:
        return lambda tables: tables.devices.save_slots(camera(n), slots)
    return lambda tables: tables.devices.save_incarnation(spoke)


def _told(c: Random) -> Change:
    n = c.choice(DEVICES)
    word = assignment(n, c.choice(MODELS), c.choice([*ROLLOUTS, "unknown"]), outcome=c.choice([None, *Outcome]))
    made = desired(n, c.randint(1, 3), signed=c.random() < 0.5, made_for=c.choice([None, *STORES]))
    others = [camera(each) for each in c.sample(DEVICES, 2)]
    if c.random() < 0.2:
        return lambda tables: tables.assignments.owe(others)
    if c.random() < 0.1:
        return lambda tables: tables.assignments.settle(camera(n))
    if c.random() < 0.5:
        return lambda tables: tables.assignments.save(word)
    return lambda tables: tables.assignments.save_desired(made)


def _rollout(c: Random) -> Change:
    said = rollout(
        c.choice(ROLLOUTS),
        model=c.choice(MODELS),
        state=c.choice(list(RolloutState)),
        intent=c.choice([Intent.UPGRADE, Intent.UPGRADE, Intent.ROLLBACK]),
        created_at_s=float(c.randint(1, 2)),
        rules=c.choice(["", "{}"]),
        paused=c.choice(["", "lunch"]),
    )
    return lambda tables: tables.rollouts.save(said)


def _stretch(c: Random) -> Change:
    trials = c.randint(1, 50)
    said = stretch(
        c.choice(DEVICES),
        c.randint(0, 3),
        model=c.choice(MODELS),
        release=release(c.choice(NAMES)),
        errors=Tally(stale=c.randint(0, 5)).after(trials, c.randint(0, 1)),
        latency=PackedHistogram.of(Histogram({c.randint(-99, 9): c.randint(0, 300)}, c.randint(0, 1))),
    )
    reports = c.randint(0, 3)

    def write(tables: Tables) -> None:
        tables.reports.save_stretch(said)
        tables.reports.count_arrival(said.device, said.number, reports)

    return write


def _site_ruling(c: Random) -> Change:
    """Decide about a site; it was decided before in some rollouts, and is forgotten first."""
    name, site = RolloutId(c.choice(ROLLOUTS)), c.choice(["lyon", "kiel"])
    verdict = c.choice([SiteVerdict.COMMIT, SiteVerdict.REVERT])
    said = SiteRuling(site=site, verdict=verdict, why="so", decided_at_s=NOW, prepared=c.randint(0, 3), counted=3)

    def write(tables: Tables) -> None:
        tables.rollouts.drop_site_ruling(name, site)
        tables.rollouts.add_site_ruling(name, said)

    return write


def _wave(c: Random) -> Change:
    name, n = RolloutId(c.choice(ROLLOUTS)), c.randint(1, 3)
    if c.random() < 0.5:
        agreed = Agreement(wave=n, person=c.choice(["ann", "bob"]), at_s=NOW + n, roles=c.choice([(), ("a", "b")]))
        return lambda tables: tables.rollouts.save_agreement(name, agreed)
    times = [c.choice([None, NOW]) for _ in range(4)]
    said = Wave(
        number=n,
        devices=c.randint(0, 3),
        started_at_s=times[0],
        switched_at_s=times[1],
        promoted_at_s=times[2],
        promoted_by=c.choice(["", "proven"]),
        asked_at_s=times[3],
        verdict=c.choice(["", "{}"]),
    )
    return lambda tables: tables.rollouts.save_wave(name, said)


def _member(c: Random) -> Change:
    some = [
        member(
            c.choice(ROLLOUTS),
            c.choice(DEVICES),
            wave=c.randint(0, 1),
            state=c.choice(list(MemberState)),
            generation=c.randint(0, 2),
        )
        for _ in range(c.randint(1, 2))
    ]
    counts, name, n = _counts(c), RolloutId(c.choice(ROLLOUTS)), c.choice(DEVICES)
    if c.random() < 0.7:
        return lambda tables: tables.rollouts.save_members(some)
    return lambda tables: tables.rollouts.add_evidence(name, camera(n), counts)


def _receipt(c: Random) -> Change:
    said = receipt(
        c.choice(DEVICES),
        c.randint(1, 4),
        named=f"{c.randint(1, 30):02}",
        at_s=NOW + c.randint(0, 3),
        counted=c.random() < 0.8,
        model=c.choice(MODELS),
        incarnation=c.choice(STORES),
        generation=c.randint(1, 2),
        attempt=c.randint(1, 3),
        outcome=c.choice(list(Outcome)),
        release=c.choice([None, *map(release, NAMES)]),
        version=c.choice([None, *map(VersionName, NAMES)]),
    )
    if c.random() < 0.1:
        return lambda tables: tables.receipts.count(said.body.device, said.body.incarnation)
    return lambda tables: tables.receipts.add(said)


def _counted(c: Random) -> Change:
    counts = _counts(c)
    said = minute(
        c.choice(DEVICES),
        c.randint(1, 6),
        model=c.choice(MODELS),
        release=release(c.choice(NAMES)),
        variant=digest(c.choice(["a", "b"])),
        arm=c.choice(list(Arm)[:2]),
        n=counts.n,
        errors={name: c.randint(1, 3) for name in ("x", "y") if c.random() < 0.4},
        predictions=counts.predictions,
        below=counts.below,
        labels=counts.labels,
        label_errors=counts.label_errors,
        latency={c.randint(-5, 5): c.randint(0, 2) for _ in range(3)},
        confidence=tuple(c.randint(0, 2) for _ in range(c.randint(0, 3))),
    )
    return lambda tables: tables.reports.merge(said)


def _reported(c: Random) -> Change:
    n, seq, boot, at_s = c.choice(DEVICES), c.randint(1, 12), c.choice(BOOTS), NOW + c.randint(0, 6)
    covered = replace(received(seq, seq + c.randint(0, 2), n=n, dropped=c.random() < 0.2), boot=boot)
    before = c.choice([0, 0, 2, 4])
    kinds: list[Change] = [
        lambda tables: tables.reports.add_range(covered),
        lambda tables: tables.reports.add_range(covered),
        lambda tables: tables.reports.keep_raw(camera(n), boot, seq, at_s, b"raw"),
        lambda tables: tables.reports.keep_raw(camera(n), boot, seq, at_s, b"raw"),
        lambda tables: tables.reports.prune(minute_before=before, stretch_before=before, raw_before_s=NOW + before),
    ]
    return c.choice(kinds)


def _logged(c: Random) -> Change:
    of, token = c.choice(NAMES), TokenId(c.choice(NAMES))
    said = event(
        c.choice(["Came", "went", "100 %"]),
        kind=c.choice(list(EventKind)[:3]),
        severity=c.choice(list(Severity)),
        device=c.choice([None, camera(1)]),
        model=c.choice([None, *MODELS]),
    )
    made = claim(of, secret_hash=c.choice(NAMES), uses_left=c.randint(1, 3), created_at_s=float(c.randint(1, 2)))
    work: Job = job(of, state=c.choice(list(JobState)), model=c.choice(MODELS), created_at_s=float(c.randint(1, 2)))
    kinds: list[Change] = [
        lambda tables: tables.events.append(said),
        lambda tables: tables.claims.save(made),
        lambda tables: tables.claims.remove(token),
        lambda tables: tables.jobs.save(work),
    ]
    return c.choice(kinds)


def _counts(c: Random) -> Counts:
    return Counts(
        n=c.randint(0, 9),
        errors=c.randint(0, 3),
        predictions=c.randint(0, 9),
        below=c.randint(0, 3),
        labels=c.randint(0, 3),
        label_errors=c.randint(0, 3),
    )


_DRAWS: Final = [
    *[_catalogue] * 2,
    _alias,
    *[_device] * 2,
    _said,
    *[_told] * 2,
    _rollout,
    _wave,
    _site_ruling,
    _stretch,
    *[_member] * 2,
    *[_receipt] * 2,
    *[_counted] * 2,
    _reported,
    _logged,
]


def everything(tables: Tables) -> dict[str, object]:
    """Return every answer of every repository, under its question."""
    return dict(
        [*_of_catalogue(tables), *_of_fleet(tables), *_of_rollouts(tables), *_of_telemetry(tables), *_of_log(tables)]
    )


Answers: TypeAlias = Iterable[tuple[str, object]]


def _of_catalogue(tables: Tables) -> Answers:
    yield "models", tables.models.listing(EVERY)
    yield "shown models", tables.models.listing(EVERY, archived=False)
    yield "used approvals", list(tables.aliases.used([1, 2, 3, 4]))
    yield "wanted", list(tables.versions.wanted_on(map(release, NAMES)))
    yield "withdrawn", list(tables.versions.withdrawn(MODELS))
    for of, alias, name in product(MODELS, ALIASES, NAMES):
        yield f"rule {of} {alias}", tables.aliases.rule(of, alias)
        yield f"history of {of} {alias}", tables.aliases.history(of, Page(limit=3, offset=1), alias=alias)
        yield f"waiting {of} {alias} {name}", list(tables.aliases.waiting(of, alias, VersionName(name)))
    yield "models with i", tables.models.listing(Page(limit=1), "I")
    for of in MODELS:
        found = tables.models.get(of)
        yield f"model {of}", found and (found, list(found.aliases))
        yield f"versions of {of}", tables.versions.listing(of, EVERY)
        yield f"shown versions of {of}", tables.versions.listing(of, EVERY, archived=False)
        yield f"rules of {of}", list(tables.aliases.rules(of))
        yield f"history of {of}", tables.aliases.history(of, EVERY)
        yield f"history of {of} 1", tables.aliases.history(of, Page(limit=2), version=VersionName("1"))
        yield f"withdrawn of {of}", list(tables.versions.withdrawn([of]))
        yield f"least epoch of {of}", tables.versions.least_epoch(of)
        yield f"next sequence of {of}", tables.versions.next_sequence(of)
        for name in NAMES:
            yield f"version {of} {name}", tables.versions.get(of, VersionName(name))
            yield f"origin {of} {name}", tables.versions.origin(of, VersionName(name))
            yield f"had {of} {name}", tables.versions.had_by(of, VersionName(name), Page(limit=2))
            yield f"release {of} {name}", tables.versions.of_release(release(f"{of} {name}"))
    for name in ("x", "y", "z"):
        yield f"release {name}", tables.versions.of_release(release(name))
    for name in NAMES:
        yield f"blob {name}", tables.versions.blob(blob(name).digest)


def _of_fleet(tables: Tables) -> Answers:
    everyone = [camera(n) for n in reversed(DEVICES)]
    for n in DEVICES:
        yield f"device {n}", tables.devices.get(camera(n))
        yield f"key {n}", tables.devices.of_key(device(n).key)
        yield f"incarnations {n}", list(tables.devices.incarnations(camera(n)))
        yield f"slot {n}", tables.devices.slot(camera(n), DIGITS)
    for order, descending in product(DeviceOrder, (False, True)):
        query = DeviceQuery(now_s=NOW, order=order, descending=descending, states=tuple(DeviceState), page=EVERY)
        yield f"devices by {order} {descending}", tables.devices.listing(query)
    for status in Status:
        yield f"{status} devices", tables.devices.listing(DeviceQuery(now_s=NOW, status=status, page=Page(limit=2)))
    for query in (
        DeviceQuery(now_s=NOW, text="HALL"),
        DeviceQuery(now_s=NOW, model=DIGITS, order=DeviceOrder.VERSION),
        DeviceQuery(now_s=NOW, version=VersionName("1")),
        DeviceQuery(now_s=NOW, version=VersionName("1"), model=WORDS),
        DeviceQuery(now_s=NOW, selector=selector.parse("site=a")),
    ):
        yield f"{query}", (tables.devices.listing(query), tables.devices.by_status(query))
    for text in ("", "site in (a, b), has class", "device in (camera-1, camera-3)"):
        yield f"matching {text}", list(tables.devices.matching(selector.parse(text)))
    yield "decommissioned", tables.devices.decommissioned()
    yield "unadopted", tables.devices.unadopted()
    for now_s in (NOW, NOW + 140, NOW + 1000):
        yield f"silent {now_s}", list(tables.devices.silent(now_s, 3))
    yield "label keys", list(tables.devices.label_keys())
    yield "slots", list(tables.devices.slots(everyone))
    yield "slots of words", list(tables.devices.slots(everyone[:2], WORDS))
    yield "serving", list(tables.devices.serving())
    yield "serving words", list(tables.devices.serving(WORDS))


def _of_rollouts(tables: Tables) -> Answers:
    everyone = [camera(n) for n in reversed(DEVICES)]
    yield "assignments", list(tables.assignments.of(everyone))
    yield "unsigned", list(tables.assignments.unsigned(3))
    yield "owed", list(tables.assignments.owed(3))
    yield "stale", list(tables.assignments.stale(3))
    yield "stale of some", list(tables.assignments.stale(3, everyone[::2]))
    yield "active", list(tables.rollouts.active())
    yield "owning", list(tables.rollouts.owning())
    yield "rollouts", tables.rollouts.listing(RolloutQuery())
    for state, of in product(RolloutState, MODELS):
        yield f"{state} of {of}", tables.rollouts.listing(RolloutQuery(state=state, model=of, page=Page(limit=1)))
    counts = tables.rollouts.counts(map(RolloutId, reversed(ROLLOUTS)))
    yield "counts", [(name, list(of.items())) for name, of in counts.items()]
    for name in map(RolloutId, ROLLOUTS):
        yield f"rollout {name}", tables.rollouts.get(name)
        yield f"members {name}", list(tables.rollouts.members(name))
        yield f"evidence {name}", tables.rollouts.evidence(name)
        yield f"waves {name}", list(tables.rollouts.waves(name))
        yield f"muster {name}", list(tables.rollouts.muster(name))
        for begun in ((), (1,), (0, 2)):
            yield f"site rest {begun} {name}", dict(sorted(tables.rollouts.site_rest(name, begun, NOW).items()))
        yield f"site others {name}", dict(tables.rollouts.site_others(name, NOW))
        for state in MemberState:
            yield f"members of {name} in {state}", list(tables.rollouts.members_in(name, (state,)))
        yield f"anybody waits in {name}", [tables.rollouts.anybody_waits(name, (wave,)) for wave in range(4)]
        counts = tables.rollouts.wave_counts(name)
        yield f"wave counts {name}", {wave: dict(sorted(each.items())) for wave, each in sorted(counts.items())}
        every = [each.device for each in tables.rollouts.members(name)]
        yield f"some members {name}", list(tables.rollouts.some_members(name, every[::2]))
        for begun in ((), (1,), (0, 2)):
            yield f"mustered near {begun} {name}", list(tables.rollouts.mustered_near(name, begun))
        yield f"some mustered {name}", list(tables.rollouts.some_mustered(name, every[::2]))
        sites = sorted({each.site for each in tables.rollouts.muster(name)})
        yield f"mustered at {sites[:2]} {name}", list(tables.rollouts.mustered_at(name, sites[:2]))
        for wave in range(3):
            yield f"waiting behind {wave} {name}", list(tables.rollouts.waiting_behind(name, wave))
        yield f"agreements {name}", list(tables.rollouts.agreements(name))
        yield f"site rulings {name}", list(tables.rollouts.site_rulings(name))
        yield f"member {name}", tables.rollouts.member(name, camera(1))
    for n, of in product(DEVICES, MODELS):
        yield f"assignment {n} {of}", tables.assignments.get(camera(n), of)
        yield f"desired {n}", tables.assignments.desired(camera(n))
        yield f"stretches {n} {of}", list(tables.reports.stretches([camera(n)], of, 0, 3))
        arrived = tables.reports.arrivals([camera(n)], 0, 3)
        yield f"arrivals {n}", {device: dict(sorted(rows.items())) for device, rows in arrived.items()}
        for generation in range(3):
            yield f"member of {n} {of} {generation}", tables.rollouts.member_of(camera(n), of, generation)


def _of_telemetry(tables: Tables) -> Answers:
    everyone = [camera(n) for n in reversed(DEVICES)]
    yield "receipts", tables.receipts.listing(ReceiptQuery(page=EVERY))
    query = ReceiptQuery(device=camera(1), model=DIGITS, version=VersionName("1"), outcome=Outcome.COMMITTED)
    yield "some receipts", tables.receipts.listing(query)
    for of in MODELS:
        yield f"outcomes of {of}", tables.receipts.outcomes(of)
    for name in NAMES:
        yield f"attempts {name}", list(tables.receipts.attempts(everyone, release(name)).items())
        yield f"counted {name}", tables.reports.counts(everyone, release(name))
        yield f"counted by one {name}", tables.reports.counts([camera(1)], release(name))
    for n, store, counter in product(DEVICES[:2], STORES, range(1, 5)):
        yield f"receipt {n} {store} {counter}", tables.receipts.of_counter(camera(n), store, counter)
        yield f"later {n} {store} {counter}", tables.receipts.has_later(_asked(n, store, counter))
    for n, boot in product(DEVICES, BOOTS):
        yield f"ranges {n} {boot}", list(tables.reports.ranges(camera(n), boot))
    yield "received", tables.reports.received(EVERY)
    yield "received of one", tables.reports.received(Page(limit=2, offset=1), camera(1))
    yield "minutes", sorted(map(_shown, tables.reports.fleet_minutes(0, 99)))
    yield "some minutes", sorted(map(_shown, tables.reports.fleet_minutes(2, 4, WORDS)))
    yield "answered by one", list(tables.reports.answered(camera(1), 2, 5).items())
    yield "minutes of one", list(map(_shown, tables.reports.minutes(camera(1), None, 2, 5)))


def _asked(n: int, store: IncarnationId, counter: int) -> Receipt:
    return receipt(n, counter, incarnation=store).body


def _shown(one: Minute) -> str:
    return repr(one)


def _of_log(tables: Tables) -> Answers:
    yield "last event", tables.events.last_number()
    for query in (
        EventQuery(page=EVERY),
        EventQuery(after=3, text="CAME"),
        EventQuery(since_s=NOW - 2, device=camera(2)),
        EventQuery(model=WORDS, page=Page(limit=2, offset=1)),
        EventQuery(severity=Severity.ERROR, kinds=tuple(EventKind)[:2], device=camera(1)),
    ):
        yield f"{query}", tables.events.listing(query)
    yield "claims", tables.claims.listing(EVERY)
    yield "jobs", tables.jobs.listing(EVERY)
    yield "jobs of words", tables.jobs.listing(Page(limit=1, offset=1), WORDS)
    yield "unfinished", list(tables.jobs.unfinished())
    for name in NAMES:
        yield f"claim {name}", (tables.claims.get(TokenId(name)), tables.claims.of_hash(name))
        yield f"job {name}", tables.jobs.get(job(name).id)
