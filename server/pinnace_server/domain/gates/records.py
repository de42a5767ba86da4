"""A verdict as plain data, and the verdict worked out again from it, so that an audit need not believe anybody.

A record holds every input and setting; only the arithmetic of this package is left out. ``RULES`` names that
arithmetic: a record of other rules is refused, never judged by these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import verdicts
from pinnace_server.domain.gates.evidence import (
    ClassCounts,
    Counts,
    DeviceEvidence,
    Guard,
    Install,
    InstallResult,
    Pair,
    Series,
    WaveEvidence,
)
from pinnace_server.domain.gates.settings import PromoteOn, Settings
from pinnace_server.domain.gates.verdicts import Verdict
from pinnace_server.errors import Refused

RULES: Final = "gates-1"
TOLERANCE: Final = 1e-6  # of an e-value's logarithm: mathematical libraries differ in the last digits

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


def record(verdict: Verdict, evidence: WaveEvidence, settings: Settings) -> dict[str, Plain]:
    """Return a verdict with all that it was made from, ready for JSON."""
    found = {
        "rules": RULES,
        "verdict": _told(verdict),
        "evidence": asdict(evidence),
        "settings": asdict(settings),
    }
    plain: dict[str, Plain] = json.loads(json.dumps(found))
    return plain


def recompute(kept: Mapping[str, Plain]) -> Verdict:
    """Judge a record's evidence again.

    Raises ``Refused`` where the record is of other rules or lacks something.
    """
    if kept.get("rules") != RULES:
        raise Refused(f"expected a verdict of {RULES}, found {kept.get('rules')!r}")
    try:
        return verdicts.judge(_evidence(_map(kept["evidence"])), _settings(_map(kept["settings"])))
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"expected a whole verdict of {RULES}, and {error!r} is wrong with it") from error


def holds(kept: Mapping[str, Plain]) -> bool:
    """Tell whether a record's verdict follows from its evidence: decision, kind, grounds and e-values."""
    again: Plain = json.loads(json.dumps(_told(recompute(kept))))
    return _alike(again, kept.get("verdict"))


def _told(verdict: Verdict) -> dict[str, object]:
    """Return a verdict's fields; no ground had a metric in the first records, and most have none."""
    found = asdict(verdict)
    for ground in found["grounds"]:
        if not ground["metric"]:
            del ground["metric"]
    return found


def _alike(one: Plain, other: Plain) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE * max(1.0, abs(one))
    return type(one) is type(other) and one == other


def _evidence(kept: Mapping[str, Plain]) -> WaveEvidence:
    return WaveEvidence(
        elapsed_min=_number(kept["elapsed_min"]),
        wave_size=_whole(kept["wave_size"]),
        reachable=_whole(kept["reachable"]),
        committed=_whole(kept["committed"]),
        reporting=_whole(kept["reporting"]),
        devices=tuple(_device(_map(each)) for each in _list(kept["devices"])),
        watched=None if kept["watched"] is None else _whole(kept["watched"]),
        installs=tuple(_install(_map(each)) for each in _list(kept["installs"])),
        dispersion={Guard(guard): _number(value) for guard, value in _map(kept["dispersion"]).items()},
        limits={Guard(guard): _number(value) for guard, value in _map(kept["limits"]).items()},
        asked={Guard(guard): _text(value) for guard, value in _map(kept.get("asked", {})).items()},
    )


def _device(kept: Mapping[str, Plain]) -> DeviceEvidence:
    outcome, classes = kept["outcome"], kept.get("classes")  # no record before them had classes
    return DeviceEvidence(
        device=DeviceId(_text(kept["device"])),
        arm=Arm(_text(kept["arm"])),
        guards={Guard(guard): _series(_map(value)) for guard, value in _map(kept["guards"]).items()},
        limited={Guard(guard): _counts(_map(value)) for guard, value in _map(kept["limited"]).items()},
        groups={name: _series(_map(value)) for name, value in _map(kept["groups"]).items()},
        outcome=None if outcome is None else _series(_map(outcome)),
        classes=None if classes is None else _classes(_map(classes)),
        paired={Guard(guard): _pair(_map(value)) for guard, value in _map(kept.get("paired", {})).items()},
        alone={Guard(guard): _series(_map(value)) for guard, value in _map(kept.get("alone", {})).items()},
    )


def _classes(kept: Mapping[str, Plain]) -> ClassCounts:
    past, now = (tuple(_whole(each) for each in _list(kept[when])) for when in ("past", "now"))
    return ClassCounts(past=past, now=now)


def _series(kept: Mapping[str, Plain]) -> Series:
    return Series(
        past=_counts(_map(kept["past"])), lately=_counts(_map(kept["lately"])), now=_counts(_map(kept["now"]))
    )


def _pair(kept: Mapping[str, Plain]) -> Pair:
    return Pair(candidate=_counts(_map(kept["candidate"])), control=_counts(_map(kept["control"])))


def _counts(kept: Mapping[str, Plain]) -> Counts:
    return Counts(
        trials=_whole(kept["trials"]),
        bad=_whole(kept["bad"]),
        fresh_trials=_number(kept["fresh_trials"]),
        fresh_bad=_whole(kept["fresh_bad"]),
    )


def _install(kept: Mapping[str, Plain]) -> Install:
    return Install(
        device=DeviceId(_text(kept["device"])),
        hardware=_text(kept["hardware"]),
        result=InstallResult(_text(kept["result"])),
    )


def _settings(kept: Mapping[str, Plain]) -> Settings:
    promote_on = kept["promote_on"]
    return Settings(
        waves=_whole(kept["waves"]),
        soak_min=_number(kept["soak_min"]),
        promote_on=None if promote_on is None else PromoteOn(_text(promote_on)),
        exposure_min=_number(kept["exposure_min"]),
        devices_min=_whole(kept["devices_min"]),
        reporting_min=_number(kept["reporting_min"]),
        inferences_min=_whole(kept["inferences_min"]),
        margins={Guard(guard): _number(value) for guard, value in _map(kept["margins"]).items()},
        ratios={Guard(guard): _number(value) for guard, value in _map(kept["ratios"]).items()},
        low_traffic_margin=_number(kept["low_traffic_margin"]),
        low_traffic_inferences=_whole(kept["low_traffic_inferences"]),
    )


def _map(value: Plain) -> dict[str, Plain]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} where a map belongs")
    return value


def _list(value: Plain) -> list[Plain]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} where a list belongs")
    return value


def _text(value: Plain) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a text belongs")
    return value


def _whole(value: Plain) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} where a whole number belongs")
    return value


def _number(value: Plain) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} where a number belongs")
    return float(value)
