"""The forecast of a policy, as tables for a person and as JSON for a program."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from pinnace_sim.climbs import End
from pinnace_sim.rehearsal import telling
from pinnace_sim.rehearsal.climbing import (
    FORMAT,
    FORMAT_VERSION,
    HOUR_S,
    Chance,
    NatureForecast,
    PolicyForecast,
    WaveForecast,
)

_ENDS: Final = {
    End.MOVED_BACK: "moved back",
    End.INSTALLS_STOPPED: "installs stopped",
    End.HELD: "held before the last wave",
    End.BUDGET_HELD: "held by the budget in the last wave",
    End.HELD_LAST: "held in the last wave",
}
_WAVE_HEAD: Final = ("WAVE", "DEVICES", "BEGINS", "(90TH PCT)", "PROMOTED AT", "(90TH PCT)", "PROMOTED", "BY")


def words(found: PolicyForecast) -> str:
    """Return a forecast for a person at a terminal."""
    lines = [*_head(found)]
    for each in found.natures:
        lines += ["", *_nature(each)]
    return "\n".join([*lines, "", "Assumed, and not known:", *(f"- {each}" for each in found.assumptions)])


def tree(found: PolicyForecast) -> dict[str, Any]:
    """Return a forecast as JSON knows it."""
    asked = found.rehearsal
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": asked.of.model,
        "version": asked.of.target.version,
        "policy": asked.given.name,
        "strategy": asked.given.policy.strategy.KIND,
        "devices": len(asked.of.snapshot.devices),
        "played": sum(each.played for each in asked.of.strata()),
        "seeds": list(asked.of.seeds),
        "hours": asked.of.hours,
        "begins_at_s": asked.begins_at_s,
        "natures": [_nature_tree(each) for each in found.natures],
        "assumptions": list(found.assumptions),
    }


def _head(found: PolicyForecast) -> Iterator[str]:
    asked = found.rehearsal
    fleet, played = len(asked.of.snapshot.devices), sum(each.played for each in asked.of.strata())
    of = f"{fleet} devices" if played == fleet else f"{fleet} devices, {played} of them in each world"
    kind, begins = asked.given.policy.strategy.KIND, datetime.fromtimestamp(asked.begins_at_s, UTC)
    yield f"{asked.of.model} {asked.of.target.version} by {asked.given.name} ({kind}) on {of}"
    yield f"{len(asked.of.seeds)} worlds a nature, at most {asked.of.hours:g} hours from {begins:%a %Y-%m-%d %H:%M} UTC"
    yield "[intervals] are of 95 %, times count from the beginning of the rollout"


def _nature(each: NatureForecast) -> Iterator[str]:
    yield f"If the release is {each.supposed.name}:"
    rows = [("promoted to its end without a person", _chance(each.without_a_person))]
    if each.agreed.n:
        rows.append(("promoted to its end, after a person agreed", _chance(each.agreed)))
    rows += [(_ENDS[end], _chance(chance)) for end, chance in each.ends.items() if end in _ENDS and chance.n]
    if each.asking.n:
        rows.append(("not decided in time: paused, or a person is asked", _chance(each.asking)))
    yield from _indented(telling.table([*rows]))
    yield ""
    yield from _indented(telling.table(_numbers(each)))
    yield ""
    yield from _indented(telling.table([_WAVE_HEAD, *(_wave(wave) for wave in each.waves)]))
    yield ""
    if not each.guards:
        yield "  No guard held a gate or moved the release back in any world."
        return
    guards: list[tuple[str, ...]] = [("GUARD", "HOLDS A GATE", "MOVES BACK")]
    guards += [(guard.guard, _chance(guard.holds), _chance(guard.moves_back)) for guard in each.guards]
    yield from _indented(telling.table(guards))


def _numbers(each: NatureForecast) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", "MEDIAN", "90TH PCT", "WORLDS")]
    for name, spread, chance in (
        ("the last wave is promoted", each.promoted_s, each.ends[End.PROMOTED]),
        ("moved back", each.stopped_s, each.ends[End.MOVED_BACK]),
    ):
        if chance.n:
            rows.append((name, *telling.pair(spread, telling.duration), str(chance.n)))
    n = str(len(each.worlds))
    rows.append(("devices that ever served it", *telling.pair(each.served, telling.count), n))
    rows.append(("device-hours that served it", *telling.pair(each.served_hours, telling.count), n))
    rows.append(("bytes over the links", *telling.pair(each.total_bytes, telling.size), n))
    rows.append(("bytes of a device", *telling.pair(each.device_bytes, telling.size), n))
    return rows


def _wave(wave: WaveForecast) -> tuple[str, ...]:
    by = ", ".join(f"{n} {name}" for name, n in sorted(wave.by.items(), key=lambda each: (-each[1], each[0])))
    return (
        str(wave.number),
        telling.count(wave.devices.median),
        *telling.pair(wave.begins_s, telling.duration),
        *telling.pair(wave.promoted_s, telling.duration),
        _chance(wave.promoted),
        by or "-",
    )


def _chance(chance: Chance) -> str:
    low, high = chance.interval()
    return f"{chance.share:.0%} [{low:.0%}, {high:.0%}], {chance.n} of {chance.of}"


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _nature_tree(each: NatureForecast) -> dict[str, Any]:
    return {
        "nature": each.supposed.name,
        "worlds": len(each.worlds),
        "promoted_without_a_person": each.without_a_person.tree(),
        "promoted_after_a_person_agreed": each.agreed.tree(),
        "asking_a_person": each.asking.tree(),
        "ends": {end.value: chance.tree() for end, chance in each.ends.items()},
        "promoted_after_s": each.promoted_s.tree(),
        "moved_back_after_s": each.stopped_s.tree(),
        "exposure": {"devices": each.served.tree(), "device_hours": each.served_hours.tree()},
        "bytes": {"total": each.total_bytes.tree(0), "device": each.device_bytes.tree(0)},
        "waves": [
            {
                "number": wave.number,
                "devices": wave.devices.tree(),
                "begun": wave.begun.tree(),
                "begins_s": wave.begins_s.tree(),
                "promoted": wave.promoted.tree(),
                "promoted_s": wave.promoted_s.tree(),
                "by": dict(wave.by),
            }
            for wave in each.waves
        ],
        "guards": {
            guard.guard: {"holds": guard.holds.tree(), "moves_back": guard.moves_back.tree()} for guard in each.guards
        },
        "played": [
            {
                "seed": world.seed,
                "end": world.end.value,
                "hours": round(world.seconds / HOUR_S, 3),
                "served": world.served,
                "moved_back_by": list(world.moved_back_by),
                "held_by": list(world.held_by),
                "why": world.why,
            }
            for world in each.worlds
        ],
    }
