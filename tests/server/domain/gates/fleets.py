"""Evidence in a line: devices with a past, and what they did since the switch."""

from collections.abc import Mapping, Sequence

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates.evidence import (
    Counts,
    DeviceEvidence,
    Guard,
    Install,
    InstallResult,
    Series,
    WaveEvidence,
)

BOARD = "board"


def counts(trials: int, bad: int) -> Counts:
    """Bad events that came one by one."""
    return Counts(trials=trials, bad=bad, fresh_trials=float(trials), fresh_bad=bad)


def series(past: tuple[int, int], now: tuple[int, int]) -> Series:
    return Series(past=counts(*past), lately=counts(past[0] // 24, past[1] // 24), now=counts(*now))


def device(number: int, arm: Arm, guards: Mapping[Guard, Series]) -> DeviceEvidence:
    return DeviceEvidence(device=DeviceId(f"{arm}-{number}"), arm=arm, guards=guards)


def arms(
    candidates: Sequence[tuple[int, int]],
    controls: Sequence[tuple[int, int]],
    past: tuple[int, int] = (1440, 14),
    guard: Guard = Guard.ERRORS,
) -> tuple[DeviceEvidence, ...]:
    """Devices of both arms with the same past; each pair is (inferences, bad) since the switch."""
    return tuple(
        device(number, arm, {guard: series(past, now)})
        for arm, sizes in ((Arm.CANDIDATE, candidates), (Arm.CONTROL, controls))
        for number, now in enumerate(sizes)
    )


def installs(failed: int, of: int, result: InstallResult = InstallResult.REVERTED) -> tuple[Install, ...]:
    """Attempts of which the last ones failed."""
    return tuple(
        Install(
            device=DeviceId(f"{Arm.CANDIDATE}-{number}"),
            hardware=BOARD,
            result=InstallResult.COMMITTED if number < of - failed else result,
        )
        for number in range(of)
    )


def wave(devices: tuple[DeviceEvidence, ...], **changes: object) -> WaveEvidence:
    """A wave two hours after its start, with everybody there; bad events come one by one."""
    size = sum(each.arm is Arm.CANDIDATE for each in devices)
    facts: dict[str, object] = {
        "elapsed_min": 120.0,
        "wave_size": size,
        "reachable": size,
        "committed": size,
        "reporting": len(devices),
        "devices": devices,
        "dispersion": dict.fromkeys(Guard, 1.0),
    }
    return WaveEvidence(**(facts | changes))  # type: ignore[arg-type]
