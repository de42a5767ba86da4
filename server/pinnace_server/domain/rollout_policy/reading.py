"""A policy from a plain tree and back, and what its parts ask of each other.

The tree is what a JSON body or a YAML file gives. Written back it has every field: what an approval or the log refers
to must not change with a later default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from pinnace_contract.latest import Swap
from pinnace_server.domain import selector, windows
from pinnace_server.domain.rollout_policy import sizes, tree
from pinnace_server.domain.rollout_policy.policy import (
    ONE_WAVE,
    WAVES_MAX,
    Ab,
    AllAtOnce,
    ApprovalPoint,
    BeforeHoldback,
    BeforeLast,
    BeforeWave,
    BlueGreen,
    RolloutPolicy,
    Shadow,
    SiteAtomic,
)
from pinnace_server.domain.rollout_policy.sizes import Count, Percent, Rest
from pinnace_server.domain.selector import Selector
from pinnace_server.domain.windows import MINUTES_PER_DAY, LocalMinute, ZoneName
from pinnace_server.errors import Refused

NAME: Final = "policy"
HOLDBACK_HUNDREDTHS_MAX: Final = 5_000  # of a per cent: more than half is not a control group but the cohort


def read(given: object) -> RolloutPolicy:
    """Read a policy.

    Raises:
        Refused: the path, what was expected there and what was found.
    """
    found = _fitted(tree.read(RolloutPolicy, given, NAME, _LEAVES), given)
    for problem in problems(found):
        raise Refused(f"{NAME}.{problem}")
    return found


def plain(policy: RolloutPolicy) -> dict[str, object]:
    """Return a policy in its one spelling, with every field; ``read`` gives the same policy back."""
    return tree.written(policy, _LEAVES)


def problems(policy: RolloutPolicy) -> tuple[str, ...]:
    """Return what does not fit together, each with its path: what was expected, and what was found."""
    return tuple(_problems(policy))


def _fitted(found: RolloutPolicy, given: object) -> RolloutPolicy:
    """Return a policy whose unsaid parts suit its strategy."""
    said = given if isinstance(given, Mapping) else {}
    if isinstance(found.strategy, AllAtOnce):
        waves = found.waves if "waves" in said else ONE_WAVE
        return replace(found, waves=waves, holdback=found.holdback if "holdback" in said else None)
    if isinstance(found.strategy, SiteAtomic | BlueGreen):  # a switch of half a site is not what was asked for
        budgets = said.get("budgets")
        if not isinstance(budgets, Mapping) or "healthy_per_site_min" not in budgets:
            return replace(found, budgets=replace(found.budgets, healthy_per_site_min=None))
    return found


def _problems(policy: RolloutPolicy) -> Iterator[str]:
    yield from _wave_problems(policy)
    yield from _strategy_problems(policy)
    yield from _gate_problems(policy)
    if isinstance(policy.holdback, Percent) and policy.holdback.hundredths > HOLDBACK_HUNDREDTHS_MAX:
        yield f"holdback: expected at most half the cohort, found {sizes.written(policy.holdback)}"
    for at, approval in enumerate(policy.approvals):
        path = f"approvals[{at}]"
        if isinstance(approval.before, BeforeWave) and approval.before.number > len(policy.waves):
            yield f"{path}.before: expected a wave from 1 to {len(policy.waves)}, found {approval.before.number}"
        if isinstance(approval.before, BeforeHoldback) and policy.holdback is None:
            yield f"{path}.before: expected a wave or 'last', found 'holdback', and this policy holds nobody back"
    for at, one in enumerate(policy.windows.weekly if policy.windows else ()):
        if one.opens == MINUTES_PER_DAY:
            yield f"windows.weekly[{at}].opens: expected 00:00 to 23:59, found 24:00"


def _wave_problems(policy: RolloutPolicy) -> Iterator[str]:
    *before, last = policy.waves
    for at, size in enumerate(before):
        if isinstance(size, Rest):
            yield f"waves[{at}]: expected 'rest' as the last wave only, found another wave after it"
    total = sum(size.hundredths for size in policy.waves if isinstance(size, Percent))
    found = f"{sizes.written(Percent(hundredths=total))} in all"
    if total > sizes.WHOLE:
        yield f"waves: expected shares of at most 100% in all, found {found}"
    elif total < sizes.WHOLE and not isinstance(last, Rest):
        yield f"waves: expected 'rest' as the last wave, or shares of 100% in all, found {found} and no 'rest'"
    elif total == sizes.WHOLE and isinstance(last, Rest):
        yield f"waves[{len(before)}]: expected no 'rest' after shares of 100% in all, found one"


def _strategy_problems(policy: RolloutPolicy) -> Iterator[str]:
    match policy.strategy:
        case AllAtOnce():
            if policy.waves != ONE_WAVE:
                yield f"waves: expected ['rest'] with all_at_once, found {[sizes.written(one) for one in policy.waves]}"
            if policy.holdback is not None:
                yield "holdback: expected null with all_at_once, which leaves no control group, found a holdback"
            for name in ("outcome", "predictions"):
                if getattr(policy.gates.guards, name) is not None:
                    yield (
                        f"gates.guards.{name}: expected null with all_at_once, which leaves nobody to compare with, "
                        "found a guard"
                    )
        case Ab():
            if policy.gates.guards.outcome is None:
                yield "gates.guards.outcome: expected a metric, which ab compares, found null"
            if policy.terms.swap is Swap.STOP_FIRST:
                yield "terms.swap: expected auto or overlap with ab, which has both in memory, found stop_first"
            if policy.strategy.duration_s < policy.gates.soak_s:
                yield (
                    f"strategy.duration_s: expected at least gates.soak_s ({policy.gates.soak_s} s), so that there is "
                    f"a control while gates watch, found {policy.strategy.duration_s}"
                )
        case Shadow():
            if policy.terms.swap is Swap.STOP_FIRST:
                yield "terms.swap: expected auto or overlap with shadow, which has both in memory, found stop_first"
            longest_s = _longest_window_s(policy)
            if longest_s is not None and longest_s <= policy.strategy.duration_s:
                yield (
                    f"strategy.duration_s: expected less than the longest window ({longest_s} s), in which the shadow "
                    f"ends and the release is activated, found {policy.strategy.duration_s}"
                )
            if policy.gates.guards.shadow is None:
                yield "gates.guards.shadow: expected a share with shadow, which measures it, found null"
        case BlueGreen():
            if policy.terms.swap is Swap.STOP_FIRST:
                yield "terms.swap: expected auto or overlap with blue_green, which has both in memory, found stop_first"
        case SiteAtomic():
            if policy.budgets.healthy_per_site_min is not None:
                yield (
                    "budgets.healthy_per_site_min: expected null with site_atomic, which moves all devices of a site "
                    f"together, found {sizes.written(policy.budgets.healthy_per_site_min)!r}"
                )
        case _:
            pass


def _longest_window_s(policy: RolloutPolicy) -> int | None:
    """Return the length of the longest run that windows are sure to open; None: there are none."""
    if policy.windows is None:
        return None
    lengths = [(one.closes - one.opens) % MINUTES_PER_DAY or MINUTES_PER_DAY for one in policy.windows.weekly]
    return 60 * max(lengths)


def _gate_problems(policy: RolloutPolicy) -> Iterator[str]:
    guards = policy.gates.guards
    margins = {
        "errors": guards.errors,
        "slow": guards.slow,
        "installs": guards.installs,
        "missing": guards.missing,
        "unsure": guards.unsure,
        "fairness": guards.fairness,
    }
    for name, margin in margins.items():
        if margin is not None and margin.points == 0 and margin.ratio == 1:
            yield (
                f"gates.guards.{name}: expected points above 0 or a ratio above 1, found neither: no release "
                "could ever be shown to be as good"
            )


# --- how leaves are spelled ---------------------------------------------------------------------------------------

_POINT_EXPECTED: Final = f"the number of a wave (1 to {WAVES_MAX}), 'last' or 'holdback'"


def _read_selector(value: object) -> Selector:
    if not isinstance(value, str):
        raise ValueError("a selector, as 'site=lyon, has camera' ('' means every device)")
    return selector.parse(value)


def _read_minute(value: object) -> LocalMinute:
    # YAML 1.1 reads 22:00 without quotes as a number to the base 60, which is just the minute of the day.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MINUTES_PER_DAY:
        return LocalMinute(value)
    if isinstance(value, str):
        try:
            return windows.minute_of(value)
        except ValueError:
            pass
    raise ValueError("a time of day, 'HH:MM' from 00:00 to 24:00")


def _read_zone(value: object) -> ZoneName:
    if not isinstance(value, str):
        raise ValueError("the name of a time zone, as 'Europe/Berlin'")
    return ZoneName(windows.zone_of(value).key)


def _read_point(value: object) -> ApprovalPoint:
    if value == "last":
        return BeforeLast()
    if value == "holdback":
        return BeforeHoldback()
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= WAVES_MAX:
        return BeforeWave(number=value)
    raise ValueError(_POINT_EXPECTED)


def _point_written(point: ApprovalPoint) -> int | str:
    match point:
        case BeforeWave():
            return point.number
        case BeforeLast():
            return "last"
        case BeforeHoldback():
            return "holdback"


_LEAVES: Final[dict[object, tree.Leaf]] = {
    Selector: tree.Leaf(read=_read_selector, write=str),
    LocalMinute: tree.Leaf(read=_read_minute, write=windows.minute_text),
    ZoneName: tree.Leaf(read=_read_zone, write=str),
    tree.either(Count, Percent): tree.Leaf(read=sizes.read_share, write=sizes.written),
    tree.either(Count, Percent, Rest): tree.Leaf(read=sizes.read_wave, write=sizes.written),
    tree.either(BeforeWave, BeforeLast, BeforeHoldback): tree.Leaf(read=_read_point, write=_point_written),
}
