"""How far a variant's answers are from the source's on the same rows, in numbers. Judging them is in ``gates.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pinnace_contract.latest import IoContract, Parity
from pinnace_runtime.arrays import Array
from pinnace_runtime.golden import SNR_DB_LIMIT, decided
from pinnace_runtime.predictions import class_output, top1


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The numbers, and what no number says: outputs that are no numbers, or that do not depend on the input."""

    parity: Parity
    problems: tuple[str, ...] = ()


def compare(
    contract: IoContract,
    expected: Mapping[str, Array],
    found: Mapping[str, Array],
    labels: NDArray[np.int64] | None,
    held_out: bool,
) -> Compared:
    """Return the worst of each number over the outputs, and agreement and accuracy of the one that tells classes."""
    rows = len(next(iter(expected.values())))
    distances = [
        _distance(expected[name].astype(np.float64), found[name].astype(np.float64))
        for name in expected
        if _is_measured(expected[name])
    ]
    agreement, with_margin = _agreement(contract, expected, found)
    return Compared(
        parity=Parity(
            samples=rows,
            max_abs=max((each[0] for each in distances), default=None),
            rmse=max((each[1] for each in distances), default=None),
            snr_db=min((each[2] for each in distances), default=None),
            cosine=min((each[3] for each in distances), default=None),
            agreement=agreement,
            agreement_with_margin=with_margin,
            accuracy=accuracy(contract, found, labels),
            held_out=held_out,
        ),
        problems=tuple(_problems(expected, found)),
    )


def accuracy(contract: IoContract, answers: Mapping[str, Array], labels: NDArray[np.int64] | None) -> float | None:
    """Return the share of rows whose class is their label; None without labels or classes."""
    classes = _classes(contract, answers)
    return None if labels is None or classes is None else float((classes == labels).mean())


def _is_measured(answer: Array) -> bool:
    return answer.dtype.kind == "f" or (answer.dtype.itemsize < 4 and answer.dtype.kind in "iu")


def _distance(expected: NDArray[np.float64], found: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the largest difference, its root mean square, the signal-to-noise ratio in dB and the cosine."""
    known = np.isfinite(expected) & np.isfinite(found)
    reference, answer = expected[known], found[known]
    noise = reference - answer
    signal_power, noise_power = float(np.square(reference).sum()), float(np.square(noise).sum())
    snr_db = SNR_DB_LIMIT
    if noise_power:
        with np.errstate(divide="ignore"):
            snr_db = float(np.clip(10 * np.log10(signal_power / noise_power), -SNR_DB_LIMIT, SNR_DB_LIMIT))
    lengths = float(np.sqrt(signal_power * np.square(answer).sum()))
    cosine = float((reference * answer).sum()) / lengths if lengths else float(signal_power == noise_power)
    return (
        float(np.abs(noise).max(initial=0.0)),
        float(np.sqrt(np.square(noise).mean())) if noise.size else 0.0,
        snr_db,
        cosine,
    )


def _agreement(
    contract: IoContract, expected: Mapping[str, Array], found: Mapping[str, Array]
) -> tuple[float | None, float | None]:
    name = class_output(contract)
    ours, theirs = _classes(contract, found), _classes(contract, expected)
    if name is None or ours is None or theirs is None:
        return None, None
    same = ours == theirs
    scores = expected[name]
    if scores.ndim != 2 or scores.shape[1] < 2:
        return float(same.mean()), None
    clear = decided(scores.astype(np.float64))
    return float(same.mean()), float(same[clear].mean()) if clear.any() else None


def _classes(contract: IoContract, answers: Mapping[str, Array]) -> NDArray[np.int64] | None:
    name = class_output(contract)
    told = None if name is None else top1(answers[name])
    return None if told is None else told[0]


def _problems(expected: Mapping[str, Array], found: Mapping[str, Array]) -> list[str]:
    problems = []
    for name, reference in expected.items():
        answer = found[name]
        if answer.shape != reference.shape or answer.dtype != reference.dtype:
            problems.append(f"output {name!r} has another shape or type than the source's")
            continue
        if answer.dtype.kind == "f" and (~np.isfinite(answer) & np.isfinite(reference)).any():
            problems.append(f"output {name!r} is not a number where the source's is")
        if len(answer) > 1 and (answer == answer[0]).all() and not (reference == reference[0]).all():
            problems.append(f"output {name!r} is the same for every input")
    return problems
