"""What was decided about a device's variant and a model's aliases, as the screens get it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from pinnace_server.console.shown_aliases import AliasRow, Pointing
from pinnace_server.console.shown_choices import Choice, DealtVariant


def choice(hostile: str) -> Choice:
    return Choice(
        model="defect-detect",
        version="5",
        rollout="r-5",
        rule="the fastest",
        why=f"int8-static because 9.9 ms p95 on jetson-orin, fp32 14.9 ms; from 212 receipts {hostile}",
        hardware="jetson-orin",
        variants=(
            DealtVariant(name="int8-static", place=1, p95_ms=9.9, results=212, believed=True),
            DealtVariant(name="fp32", place=2, p95_ms=14.9, results=2),
            DealtVariant(name=f"fp16 {hostile}", place=None),
        ),
    )


def pointings(now: datetime, hostile: str) -> tuple[Pointing, ...]:
    staging = Pointing(
        alias="staging", version="5", since=now - timedelta(hours=2), means="set", by="ana", reason=f"faster {hostile}"
    )
    production = Pointing(
        alias="production",
        version="4",
        since=now - timedelta(days=2),
        means="promoted",
        by="ana",
        rollout="r-4",
        approved_by=("bob", "carla"),
    )
    before = replace(
        production,
        version="3",
        since=now - timedelta(days=9),
        until=now - timedelta(days=2),
        means="forced",
        reason="line 3 stands still",
        rollout="",
        approved_by=(),
        ended_by="ana",
        ended_reason="a week on line 3",
    )
    return staging, production, before


def standing(now: datetime, hostile: str) -> tuple[AliasRow, ...]:
    staging, production, _ = pointings(now, hostile)
    ruled = AliasRow(
        alias="production",
        version="4",
        now=production,
        rule="promoted from staging, after a finished rollout with no device that failed",
        in_line="5",
        missing=("it needs a finished rollout of this version, and none has ended",),
        approved_by=("bob",),
    )
    ready = replace(ruled, alias="pilot", missing=(), command="pinnace promote defect-detect --from staging --to pilot")
    return ready, ruled, AliasRow(alias="staging", version="5", now=staging)
