"""A rollout in four waves as the screens get it: promoted, watched, waiting for two people to agree, and a holdback."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pinnace_contract.latest import Cause
from pinnace_server import policy_text
from pinnace_server.console import shown
from pinnace_server.console.shown_rollouts import (
    CohortChange,
    FailureGroup,
    GateReading,
    GuardRow,
    Late,
    Pause,
    RolloutDetail,
    RolloutPreview,
    SiteRow,
    Switch,
    WavePreview,
    WaveRow,
)
from pinnace_server.domain.records import MemberState
from pinnace_server.domain.rollout_policy import reading

SITE = "site=lyon"


def why(hostile: str, now: datetime) -> shown.Why:
    return shown.Why(
        state="waiting",
        why=f"it is in wave 3, and wave 2 is not promoted yet {hostile}",
        next="its gates promote the wave, or a person does",
        command="pinnace rollout promote r-5 2 --reason …",
        at=now + timedelta(hours=2),
        waiting_on="EARLIER_WAVE",
        model="defect-detect",
        version="5",
        rollout="r-5",
    )


def gates(now: datetime, hostile: str) -> GateReading:
    return GateReading(
        at=now - timedelta(seconds=40),
        decision="hold",
        kind="relative",
        sentences=("slow collects: evidence ×2.5 of ×20 that it is no worse", f"look at {hostile}"),
        guards=(
            GuardRow(guard="errors", worse=-9.0, not_worse=51.0, trials=59_400, bad=3),
            GuardRow(guard="slow", worse=math.log(9), not_worse=math.log(2.5), trials=1_980, bad=140),
            GuardRow(guard="installs", worse=math.log(4_100), not_worse=0.0, trials=35, bad=4),
            GuardRow(guard="of a newer server", worse=0.0, not_worse=0.0, trials=0, bad=0),
        ),
        roll_back=math.log(4_000),
        proven=math.log(20),
        refuting=math.log(5),
        devices={"wave": 35, "reachable": 34, "committed": 26, "reporting": 40, "speaking": 38},
    )


def waves(now: datetime, hostile: str, agreed: tuple[str, ...], under_way: int) -> tuple[WaveRow, ...]:
    first = WaveRow(
        number=1,
        holdback=False,
        devices=5,
        look="promoted",
        committed=5,
        begun=now - timedelta(hours=9),
        switched=now - timedelta(hours=8),
        promoted=now - timedelta(hours=4),
        promoted_by="person:ana",
        gates=replace(gates(now, hostile), decision="promote_unrefuted", sentences=()),
    )
    second = WaveRow(
        number=2,
        holdback=False,
        devices=35,
        look="watched",
        committed=26,
        under_way=under_way,
        failed=4,
        begun=now - timedelta(hours=4),
        switched=now - timedelta(hours=3),
        gates=gates(now, hostile),
    )
    third = WaveRow(number=3, holdback=False, devices=2, look="not_begun", waiting=2, agreements=2, agreed=agreed)
    return first, second, third, WaveRow(number=4, holdback=True, devices=2, look="not_begun", waiting=2)


def sites(now: datetime, hostile: str) -> tuple[SiteRow, ...]:
    waits = SiteRow(name=f"lyon {hostile}", wave=2, devices=4, prepared=2, keeping=0, mixed=False, why=hostile)
    decided = replace(waits, name="kiel", prepared=4, keeping=3, mixed=True, decision="commit", decided=now)
    return replace(waits, lease_until=now + timedelta(minutes=20)), decided, replace(decided, decision="revert")


def switch(now: datetime, hostile: str) -> Switch:
    late = Late(device="dev-0006", waits_for=f"the fetch to end {hostile}")
    return Switch(
        wave=2, ready=26, late_total=31, late=(late,), wait_s=1_800, until=now + timedelta(minutes=20, seconds=30)
    )


def cohort_changes(now: datetime, hostile: str) -> tuple[CohortChange, ...]:
    wide = f"site in (lyon, turin), and who comes to belong to it {hostile}"
    newest = CohortChange(at=now - timedelta(hours=1), by="ana", before=SITE, now=wide, joined=12, let_go=0)
    return newest, replace(newest, by="bob", before="", now="", joined=0, let_go=3)


def detail(
    one: shown.Progress,
    history: Sequence[shown.Event],
    now: datetime,
    hostile: str,
    *,
    paused: str,
    agreed: tuple[str, ...],
) -> RolloutDetail:
    plain = one.strategy == "plain"
    rows = () if plain else waves(now, hostile, agreed, one.under_way)
    said = replace(
        why(hostile, now),
        until=now + timedelta(hours=26),
        state=one.state,
        why=f"wave 2: slow collects {hostile}",
    )
    failures = FailureGroup(
        state=MemberState.FAILED,
        cause=Cause.CRASHED,
        detail=f"three crashes within 12 s {hostile}",
        devices=4,
        names=("dev-0003", "dev-0014", "dev-0025"),
    )
    return RolloutDetail(
        progress=one,
        cohort="" if plain else SITE,
        why=said,
        pause=Pause(by="ana", why=paused, since=now - timedelta(minutes=5)) if paused else None,
        waves=rows,
        current=None if plain else rows[1],
        sites=() if plain else sites(now, hostile),
        failures=(failures,),
        switch=None if plain else switch(now, hostile),
        cohort_changes=() if plain else cohort_changes(now, hostile),
        waiting=(("an earlier wave", 4), ("an answer to what was told", 5)),
        again=True,
        halts="r-4" if plain else "",
        policy="" if plain else policy_text.written(reading.plain(reading.read({"cohort": SITE}))),
        history=tuple(history),
        history_total=len(history),
    )


def preview(policy: str, first_wave: int, hostile: str) -> RolloutPreview:
    read = reading.read(policy_text.parse(policy))
    plain = WavePreview(
        number=1, holdback=False, devices=first_wave, hardware={"pi4": first_wave, hostile: 0}, names=("dev-0001",)
    )
    return RolloutPreview(
        strategy=read.strategy.KIND,
        devices=first_wave + 42 if first_wave else 0,
        waves=(plain, replace(plain, number=2, devices=40), replace(plain, number=3, devices=2, holdback=True))
        if first_wave
        else (),
        already_on_it=2,
        excluded=(("no variant for its runtimes (tflite)", 7, ("dev-0003", "dev-0004")),),
        foresight="this fleet can notice error ratios above ×3 and p95 above +20 % within 28 hours",
        policy=policy_text.written(reading.plain(read)),
        approvals=("one person must agree before wave 2 begins",),
    )
