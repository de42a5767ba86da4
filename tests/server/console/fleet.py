"""A fleet in memory behind the console's ports: forty-odd devices with hostile names, failures and updates."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from pinnace_contract.latest import Cause, EvidenceKind, Outcome, Phase
from pinnace_server.console import shown, shown_rollouts
from pinnace_server.console.ports import ConsoleServices
from pinnace_server.console.query import DeviceOrder, DeviceQuery, EventQuery, RolloutQuery
from pinnace_server.domain import selector as selectors
from pinnace_server.domain.records import Status
from pinnace_server.errors import Conflict, NotFound
from tests.server.console import climbing, decided

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TOKEN = "pnc-admin-0123456789abcdef"
HOSTILE = "<img src=x onerror=alert(1)>"
HOSTILE_DETAIL = "</script><script>alert('detail')</script> \" onmouseover=\"alert(2)"
MODEL = "defect-detect"
VERSIONS = ("1", "2", "3", "4", "5")


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def build(version: str, precision: str = "int8-static", runtime: str = "onnx") -> shown.Build:
    return shown.Build(
        version=version,
        release=digest(f"release {version}"),
        variant=digest(f"{version} {runtime} {precision}"),
        runtime=runtime,
        precision=precision,
    )


class Fleet:
    """Answers as a server would; `moved` keeps what was asked of it."""

    def __init__(self, devices: int = 44, *, empty: bool = False, now: Callable[[], datetime] = lambda: NOW) -> None:
        self.now = now
        self.chance = random.Random(7)
        self.listeners: list[Callable[[str], None]] = []
        self.moved: list[tuple[str, ...]] = []
        self.refusal = ""
        self.rollout_state = "active"
        self.paused = ""
        self.agreed: tuple[str, ...] = ()
        self.under_way = 5
        self.first_wave = 2
        self.broken = False
        self.rows = [] if empty else [self._row(number) for number in range(devices)]
        self.log = [] if empty else self._log()
        self.empty = empty

    def services(self) -> ConsoleServices:
        return ConsoleServices(
            overview=self,
            fleet=self,
            catalogue=self,
            rollouts=self,
            actions=self,
            changes=self,
            door=self,
            version="0.1.0",
        )

    # --- how the fleet is made ---

    def _row(self, number: int) -> shown.DeviceRow:
        site = ("lyon", "turin", "ulm")[number % 3]
        kind = number % 11
        slot = shown.Slot(model=MODEL, phase=Phase.IDLE, active=build("4"), previous=build("3"), generation=40 + number)
        slot = replace(slot, last_outcome=Outcome.COMMITTED, last_outcome_at=NOW - timedelta(hours=5, minutes=number))
        slot = replace(slot, evidence=EvidenceKind.LIVE, evidence_inferences=312, last_version="4")
        status = Status.ONLINE
        if kind == 3:
            status = Status.DEGRADED
            slot = replace(
                slot,
                last_outcome=Outcome.REVERTED,
                went_back=True,
                last_version="5",
                last_cause=Cause.GOLDEN_MISMATCH if number % 2 else Cause.CRASHED,
                last_detail="7 of 64 vectors differ by more than 0.05" if number % 2 else HOSTILE_DETAIL,
                last_log="worker: SIGSEGV in kernel Conv\n" + HOSTILE + "\nworker: restarted (3 of 3)",
            )
        if kind == 6:
            status = Status.UPDATING
            phase = (Phase.FETCHING, Phase.TRIAL, Phase.SELF_TEST, Phase.AWAITING_CONTACT)[number // 11 % 4]
            cause = Cause.NO_CONTACT if phase is Phase.AWAITING_CONTACT else Cause.NONE
            share = 0.62 if phase is Phase.FETCHING else None
            slot = replace(slot, phase=phase, candidate=build("5"), wanted=build("5"), fetched_share=share, cause=cause)
        if kind == 9:
            status = Status.OFFLINE
        name = f"press-{site}-{number:02d}"
        if number == 3:
            name = HOSTILE
        if number == 17:
            name = "camera with a very long name that somebody typed into the enrolment form of line seven"
        silent = {Status.OFFLINE: timedelta(hours=2 + number)}.get(status, timedelta(seconds=2 + number % 20))
        return shown.DeviceRow(
            id=f"dev-{number:04d}",
            name=name,
            status=status,
            labels={"site": site, "line": str(number % 4 + 1)},
            slot=slot,
            more_models=1 if number % 13 == 5 else 0,
            p95_ms=None if status is Status.OFFLINE else round(self.chance.gauss(8.4, 0.9), 2),
            last_seen=NOW - silent,
            agent_version="0.1.0" if number % 5 else "0.0.9",
        )

    def _log(self) -> list[shown.Event]:
        lines = []
        kinds = [
            ("receipt_committed", "ok", "{d} committed {m} 4 after 312 live inferences"),
            ("receipt_reverted", "bad", "{d} went back from {m} 4 to 3: GOLDEN_MISMATCH"),
            ("device_online", "", "{d} is online"),
            ("phase_changed", "", "{d} is in trial with {m} 5"),
            ("device_offline", "warn", "{d} went silent"),
        ]
        for number in range(120):
            row = self.rows[number % len(self.rows)] if self.rows else None
            kind, severity, words = kinds[number % len(kinds)]
            if row is None:
                continue
            lines.append(
                shown.Event(
                    number=120 - number,
                    at=NOW - timedelta(seconds=37 * number),
                    kind=kind,
                    actor=f"device:{row.id}" if number % 5 else "server",
                    summary=words.format(d=row.id, m=MODEL),
                    severity=severity,
                    device=row.id,
                    model=MODEL if "{m}" in words else "",
                    version="4",
                    data={"cause": "GOLDEN_MISMATCH", "message": HOSTILE} if number % 7 == 1 else {"generation": "41"},
                )
            )
        return lines

    # --- reads ---

    def _check(self) -> None:
        if self.broken:
            raise RuntimeError("the database is on fire")

    def overview(self) -> shown.Overview:
        self._check()
        served = Counter(row.slot.active.version for row in self.rows if row.slot and row.slot.active)
        concerns = [
            shown.Concern(
                severity="warn",
                text=f"Rollout of {MODEL} 5 waits for a person to decide, wave 2 of 4",
                detail=f"not decided 24 hours after its soak time {HOSTILE}",
                address="/rollouts/r-5",
                since=NOW - timedelta(hours=3),
            ),
            shown.Concern(
                severity="bad",
                text=f"2 devices went back from {MODEL} 4: GOLDEN_MISMATCH",
                detail="On this hardware the model did not give the recorded answers.",
                address=f"/devices?status=degraded&model={MODEL}",
                since=NOW - timedelta(hours=5),
            ),
            shown.Concern(
                severity="bad",
                text=f"2 devices went back from {MODEL} 4: CRASHED",
                detail=HOSTILE_DETAIL,
                address=f"/devices?status=degraded&model={MODEL}",
                since=NOW - timedelta(hours=4),
            ),
            shown.Concern(
                severity="warn",
                text="4 devices are offline",
                detail="silent for longer than three of their own reporting intervals",
                address="/devices?status=offline",
                since=NOW - timedelta(hours=2),
            ),
        ]
        return shown.Overview(
            fleet=len(self.rows),
            models=0 if self.empty else 1,
            by_status=Counter(row.status for row in self.rows),
            concerns=tuple(concerns) if self.rows else (),
            progress=self._progresses(),
            shares=tuple(shown.VersionShare(model=MODEL, version=v, devices=n) for v, n in sorted(served.items())),
            latency=(shown.FleetLatency(model=MODEL, inferences=182_340, errors=12, p50_ms=6.21, p95_ms=9.87),)
            if self.rows
            else (),
            latency_minutes=60,
            events=tuple(self.log[:10]),
        )

    def _matches(self, row: shown.DeviceRow, query: DeviceQuery, *, status: bool = True) -> bool:
        wanted = selectors.parse(query.label)
        version = row.slot.active.version if row.slot and row.slot.active else "none"
        return (
            query.q.lower() in f"{row.id} {row.name}".lower()
            and (not status or query.status in (None, row.status))
            and (not query.model or (row.slot is not None and row.slot.model == query.model))
            and (not query.version or version == query.version)
            and wanted.matches(row.id, row.labels)  # type: ignore[arg-type]
        )

    def devices(self, query: DeviceQuery) -> shown.DevicePage:
        self._check()
        keys: dict[DeviceOrder, Callable[[shown.DeviceRow], object]] = {
            DeviceOrder.NAME: lambda row: row.name,
            DeviceOrder.STATUS: lambda row: list(Status).index(row.status),
            DeviceOrder.VERSION: lambda row: row.slot.active.version if row.slot and row.slot.active else "",
            DeviceOrder.P95: lambda row: row.p95_ms or 0,
            DeviceOrder.SEEN: lambda row: row.last_seen,
            DeviceOrder.AGENT: lambda row: row.agent_version,
        }
        found = [row for row in self.rows if self._matches(row, query)]
        found.sort(key=keys[query.order], reverse=query.descending)  # type: ignore[arg-type]
        return shown.DevicePage(
            rows=tuple(found[query.offset : query.offset + query.size]),
            total=len(found),
            fleet=len(self.rows),
            by_status=Counter(row.status for row in self.rows if self._matches(row, query, status=False)),
            models=(MODEL,),
            versions=VERSIONS if query.model else (),
        )

    def _find(self, device: str) -> shown.DeviceRow:
        self._check()
        row = next((row for row in self.rows if row.id == device), None)
        if row is None:
            raise NotFound("device", device)
        return row

    def device(self, device: str) -> shown.DeviceDetail:
        row = self._find(device)
        history = tuple(event for event in self.log if event.device == device)
        return shown.DeviceDetail(
            id=row.id,
            name=row.name,
            status=row.status,
            why="MQTT, reports every 60 s" if row.status is not Status.OFFLINE else "no link",
            labels=row.labels,
            slots=(row.slot,) if row.slot else (),
            last_seen=row.last_seen,
            report_every_s=60,
            agent_version=row.agent_version,
            hardware="jetson-orin",
            runtimes=("onnx", "tflite"),
            incarnation=digest(row.id)[:32],
            key_fingerprint=digest(row.name),
            enrolled_at=NOW - timedelta(days=31),
            generation=41,
            health=shown.Health(
                at=NOW - timedelta(seconds=20),
                cpu_share=0.31,
                memory_free_bytes=1_200 << 20,
                memory_total_bytes=4 << 30,
                disk_free_bytes=21 << 30,
            ),
            latency=(self._latency(),),
            history=history[:20],
            history_total=len(history),
            whys=(climbing.why(HOSTILE, NOW),),
            choices=(decided.choice(HOSTILE),),
        )

    def _latency(self) -> shown.LatencySeries:
        chance, points = random.Random(3), []
        for minute in range(60):
            p50 = 6 + chance.random() + (2 if minute > 40 else 0)
            gap = 22 <= minute < 26
            points.append(
                shown.LatencyPoint(
                    at=NOW - timedelta(minutes=59 - minute),
                    inferences=0 if gap else 290 + chance.randrange(20),
                    errors=0,
                    p50_ms=None if gap else round(p50, 2),
                    p95_ms=None if gap else round(p50 * 1.5 + chance.random(), 2),
                )
            )
        mark = shown.Mark(at=NOW - timedelta(minutes=19), label="5 assigned")
        return shown.LatencySeries(
            model=MODEL, start=NOW - timedelta(hours=1), end=NOW, points=tuple(points), marks=(mark,), limit_ms=15.0
        )

    def models(self, page: int, size: int) -> shown.ModelPage:
        self._check()
        if self.empty:
            return shown.ModelPage(rows=(), total=0)
        shares = tuple(shown.VersionShare(model=MODEL, version=v, devices=n) for v, n in (("4", 40), ("3", 4)))
        row = shown.ModelRow(
            name=MODEL,
            versions=5,
            latest="5",
            aliases={"production": "4", "staging": "5"},
            shares=shares,
            updated_at=NOW - timedelta(minutes=15),
        )
        return shown.ModelPage(rows=(row,)[(page - 1) * size :], total=1)

    def model(self, model: str, page: int, size: int) -> shown.ModelDetail:
        self._check()
        if model != MODEL or self.empty:
            raise NotFound("model", model)
        aliases = {"production": "4", "staging": "5"}
        accuracy = {"1": 0.941, "2": 0.952, "3": 0.957, "4": 0.968, "5": None}
        rows = [
            shown.VersionRow(
                version=version,
                release=digest(f"release {version}"),
                sequence=int(version),
                created_at=NOW - timedelta(days=(5 - int(version)) * 3, minutes=15),
                aliases=tuple(alias for alias, at in aliases.items() if at == version),
                variants=("onnx fp32", "onnx int8-static", "tflite int8-static"),
                devices={"4": 40, "3": 4}.get(version, 0),
                committed=40 if version != "5" else 0,
                reverted=4 if version == "4" else 0,
                failed=0,
                withdrawn=version == "2",
                accuracy=accuracy[version],
                p95_ms={"3": 9.1, "4": 8.4}.get(version),
            )
            for version in reversed(VERSIONS)
        ]
        return shown.ModelDetail(
            name=MODEL,
            description=f"Finds scratches on pressed parts. {HOSTILE}",
            aliases=aliases,
            versions=tuple(rows[(page - 1) * size : page * size]),
            total=len(rows),
            shares=(),
            standing=decided.standing(NOW, HOSTILE),
            pointings=decided.pointings(NOW, HOSTILE),
            pointings_total=41,
        )

    def version(self, model: str, version: str) -> shown.VersionDetail:
        self._check()
        if model != MODEL or version not in VERSIONS or self.empty:
            raise NotFound("version", f"{model} {version}")
        fp32 = shown.VariantRow(
            digest=digest(f"{version} onnx fp32"),
            runtime="onnx",
            precision="fp32",
            size_bytes=9_412_608,
            peak_memory_bytes=62 << 20,
            accuracy=0.968,
            agreement=1.0,
            snr_db=112.0,
            max_abs=1e-6,
            samples=2000,
            latency=(shown.Percentiles(hardware="jetson-orin", samples=90_000, p50_ms=11.2, p95_ms=14.9),),
            devices=0,
        )
        int8 = replace(
            fp32,
            digest=digest(f"{version} onnx int8-static"),
            precision="int8-static",
            size_bytes=2_471_936,
            peak_memory_bytes=31 << 20,
            accuracy=0.961,
            agreement=0.987,
            snr_db=31.4,
            latency=(
                shown.Percentiles(hardware="jetson-orin", samples=182_340, p50_ms=6.2, p95_ms=9.9),
                shown.Percentiles(hardware="rpi4", samples=900, p50_ms=31.0, p95_ms=44.2),
            ),
            devices=32,
        )
        tflite = replace(
            int8,
            digest=digest(f"{version} tflite int8-static"),
            runtime="tflite",
            accuracy=0.94,
            snr_db=None,
            peak_memory_bytes=0,
            latency=(),
            devices=8,
        )
        return shown.VersionDetail(
            model=model,
            version=version,
            release=digest(f"release {version}"),
            sequence=int(version),
            epoch=0,
            size_bytes=18_211,
            created_at=NOW - timedelta(minutes=15),
            aliases=("staging",) if version == "5" else (),
            variants=(int8, fp32, tflite),
            inputs=(shown.Tensor(name="image", datatype="UINT8", shape=(-1, 64, 64, 3)),),
            outputs=(shown.Tensor(name="class", datatype="FP32", shape=(-1, 3), classes=("good", "scratch", HOSTILE)),),
            before=("cast FP32", "normalize"),
            after=("softmax",),
            assets=("labels.txt",),
            golden_vectors=64,
            has_baseline=True,
            error_rate_max=0.02,
            p95_limits={"jetson-orin": 15.0, "*": 60.0},
            signature=shown.Signature(state="verified", keys=(digest("key"),), trust="dev"),
            blocked="withdrawn: no device may start it again" if version == "2" else "",
            card="# Defect detect\n" + HOSTILE,
            provenance={"trained by": "vision team", "source": "git 4f1c2e9"},
            latency_minutes=60,
            progress=self._progress() if version == "5" else None,
            outcomes={"committed": 31, "reverted": 4},
        )

    def _progress(self) -> shown.Progress:
        return shown.Progress(
            rollout="r-5",
            model=MODEL,
            version="5",
            intent="upgrade",
            state=self.rollout_state,
            committed=31,
            under_way=self.under_way,
            failed=4,
            waiting=4,
            actor="admin",
            since=NOW - timedelta(minutes=12),
            strategy="canary",
            wave="2 of 4",
            need="paused" if self.paused else "",
        )

    def _progresses(self) -> tuple[shown.Progress, ...]:
        if self.empty:
            return ()
        one = self._progress()
        reason = f"label errors 4.1 × those of 3 {HOSTILE}"
        back = replace(one, rollout="r-6", version="3", intent="rollback", state="finished", strategy="plain", wave="")
        halted = replace(one, rollout="r-4", version="4", state="halted", reason=reason, since=NOW - timedelta(hours=6))
        return one, replace(back, under_way=0, need=""), replace(halted, need="")

    def rollouts(self, query: RolloutQuery) -> shown_rollouts.RolloutPage:
        self._check()
        every = self._progresses()
        found = [each for each in every if query.state in (None, each.state) and query.model in ("", each.model)]
        rows = tuple(found[query.offset : query.offset + query.size])
        return shown_rollouts.RolloutPage(rows=rows, total=len(found), all=len(every))

    def rollout(self, rollout: str) -> shown_rollouts.RolloutDetail:
        self._check()
        one = next((each for each in self._progresses() if each.rollout == rollout), None)
        if one is None:
            raise NotFound("rollout", rollout)
        return climbing.detail(one, self.log[:5], NOW, HOSTILE, paused=self.paused, agreed=self.agreed)

    def preview(self, model: str, version: str, policy: str) -> shown_rollouts.RolloutPreview:
        self._check()
        self.version(model, version)
        return climbing.preview(policy, self.first_wave, HOSTILE)

    def events(self, query: EventQuery) -> shown.EventPage:
        self._check()
        found = [
            event
            for event in self.log
            if query.kind in ("", event.kind)
            and query.device in ("", event.device)
            and query.model in ("", event.model)
            and query.actor in event.actor
        ]
        kinds = tuple(sorted({event.kind for event in self.log}))
        rows = tuple(found[query.offset : query.offset + query.size])
        return shown.EventPage(rows=rows, total=len(found), log=len(self.log), kinds=kinds)

    def match(self, model: str, version: str, selector: str) -> shown.Match:
        self.version(model, version)
        wanted = selectors.parse(selector)
        found = [row for row in self.rows if wanted.matches(row.id, row.labels)]  # type: ignore[arg-type]
        offline = sum(row.status is Status.OFFLINE for row in found)
        excluded: Mapping[str, int] = {"no runtime for any variant": 1} if not selector and len(found) > 1 else {}
        names = tuple(row.name for row in found[:8])
        devices = max(0, len(found) - sum(excluded.values()))
        return shown.Match(devices=devices, already_on_it=2, offline=offline, excluded=excluded, names=names)

    # --- actions ---

    def _act(self) -> None:
        self._check()
        if self.refusal:
            raise Conflict(self.refusal)

    def assign(self, *, model: str, version: str, selector: str, actor: str) -> int:
        self._act()
        self.moved.append(("assign", model, version, selector, actor))
        for topic in ("overview", "devices", f"model:{model}"):
            self.tell(topic)
        return self.match(model, version, selector).devices

    def revert(self, *, device: str, model: str, actor: str) -> str:
        self._act()
        row = self._find(device)
        assert row.slot is not None
        assert row.slot.revert_to is not None
        self.moved.append(("revert", device, model, actor))
        return row.slot.revert_to.version

    def roll_back(self, *, rollout: str, actor: str) -> int:
        self._act()
        self.moved.append(("roll_back", rollout, actor))
        self.rollout_state = "halted"
        return 36

    def cancel(self, *, rollout: str, reason: str, actor: str) -> None:
        self._act()
        self.moved.append(("cancel", rollout, reason, actor))
        self.rollout_state = "cancelled"
        self.tell(f"rollout:{rollout}")

    def begin(self, *, model: str, version: str, policy: str, reason: str, actor: str) -> str:
        self._act()
        self.moved.append(("begin", model, version, policy, reason, actor))
        return "r-5"

    def pause(self, *, rollout: str, reason: str, actor: str) -> None:
        self._act()
        self.moved.append(("pause", rollout, reason, actor))
        self.paused = reason or "no reason given"
        self.tell(f"rollout:{rollout}")

    def resume(self, *, rollout: str, reason: str, actor: str) -> None:
        self._act()
        self.moved.append(("resume", rollout, reason, actor))
        self.paused = ""
        self.tell(f"rollout:{rollout}")

    def approve(self, *, rollout: str, wave: int, actor: str) -> None:
        self._act()
        self.moved.append(("approve", rollout, str(wave), actor))
        self.agreed += (actor,)

    def promote(self, *, rollout: str, wave: int, reason: str, actor: str) -> None:
        self._act()
        self.moved.append(("promote", rollout, str(wave), reason, actor))

    def retry(self, *, rollout: str, actor: str) -> int:
        self._act()
        self.moved.append(("retry", rollout, actor))
        return 4

    # --- changes and the door ---

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def tell(self, topic: str) -> None:
        for listener in self.listeners:
            listener(topic)

    def actor_of(self, token: str) -> str | None:
        return "admin" if token == TOKEN else None
