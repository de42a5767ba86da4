"""Which wave each device of a cohort moves in, dealt by a hash: the same salt always deals the same way.

The salt is the version that is rolled out (``salt_of``), so that a preview tells the truth, a second try begins with
the same devices, and another version begins with others.

The holdback is taken out first and moves last; the waves share the others. Each takes its part of every class of
hardware, as nearly as whole devices allow, and no wave stays empty while there are devices for it. A device keeps its
wave for good; one that joins later goes where its hash says, and moves nobody. When a wave may start is the planner's.

Waves are numbered from 1; the holdback has the number after the last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pinnace_contract.ids import DeviceId, ModelName, VersionName
from pinnace_server.domain.rollout_policy import sizes
from pinnace_server.domain.rollout_policy.policy import Membership, RolloutPolicy, SiteAtomic
from pinnace_server.domain.rollout_policy.sizes import WHOLE, Count, Percent, Rest, WaveSize

_HASHES: Final = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One device of a cohort. ``site`` empty: it belongs to no site, and counts as one of its own."""

    device: DeviceId
    hardware: str = ""
    site: str = ""


Numbers = Mapping[DeviceId, int]
"""The wave of each device."""


def salt_of(model: ModelName, version: VersionName) -> str:
    """Return what the waves of a version are dealt by."""
    return f"{model} {version}"


def holdback_number(policy: RolloutPolicy) -> int:
    """Return the number under which the holdback moves."""
    return len(policy.waves) + 1


def deal(salt: str, policy: RolloutPolicy, cohort: Iterable[Candidate]) -> dict[DeviceId, int]:
    """Deal a cohort at a rollout's start.

    Every device gets one wave. With fewer devices (or sites, where those move whole) than waves the last waves are
    empty; a cohort of one is not held back.
    """
    dealt = _sites_dealt if isinstance(policy.strategy, SiteAtomic) else _devices_dealt
    return dealt(salt, policy, sorted(cohort, key=_by_device))


def join(salt: str, policy: RolloutPolicy, cohort: Iterable[Candidate], before: Numbers) -> dict[DeviceId, int]:
    """Return ``before`` with everybody who joined the cohort since; a static cohort stays as it was dealt.

    ``cohort`` is everybody in it now. Who left keeps the number, and has it again on coming back.
    """
    now = dict(before)
    if policy.cohort.membership is Membership.STATIC:
        return now
    whole = isinstance(policy.strategy, SiteAtomic)
    known = sorted(cohort, key=_by_device)
    sites = {each.site: before[each.device] for each in known if whole and each.site and each.device in before}
    for each in known:
        if each.device not in before:
            where = sites.get(each.site)
            now[each.device] = placed(salt, policy, each) if where is None else where
    return now


def placed(salt: str, policy: RolloutPolicy, joiner: Candidate) -> int:
    """Return the wave of a device that joins late: its hash, laid over the shares of the waves.

    A wave of so many devices was filled at the start and takes no more; neither does a holdback given so.
    """
    at = _hash(salt, _unit(joiner) if isinstance(policy.strategy, SiteAtomic) else _device(joiner))
    held = policy.holdback.hundredths if isinstance(policy.holdback, Percent) else 0
    if at * WHOLE >= (WHOLE - held) * _HASHES:
        return holdback_number(policy)
    share = 0
    for number, size in enumerate(policy.waves, 1):
        share += size.hundredths if isinstance(size, Percent) else 0
        if at * WHOLE * WHOLE < share * (WHOLE - held) * _HASHES:
            return number
    return len(policy.waves)


# --- devices, class by class --------------------------------------------------------------------------------------


def _devices_dealt(salt: str, policy: RolloutPolicy, cohort: Sequence[Candidate]) -> dict[DeviceId, int]:
    classes: dict[str, list[tuple[int, DeviceId]]] = {}
    for each in cohort:
        classes.setdefault(each.hardware, []).append((_hash(salt, _device(each)), each.device))
    # In the order of a hash, because who stands beside whom decides between equals.
    names = sorted(classes, key=lambda name: _hash(salt, f"class {name}"))
    hands = [sorted(classes[name]) for name in names]
    numbers: dict[DeviceId, int] = {}
    last = holdback_number(policy)
    for hand, n in zip(hands, _shares(salt, last, hands, _held_back(policy, len(cohort))), strict=True):
        numbers.update((device, last) for _, device in hand[len(hand) - n :])
        del hand[len(hand) - n :]
    for number, size in enumerate(_wave_sizes(policy.waves, sum(map(len, hands))), 1):
        for hand, n in zip(hands, _shares(salt, number, hands, size), strict=True):
            numbers.update((device, number) for _, device in hand[:n])
            del hand[:n]
    return numbers


def _shares(salt: str, number: int, hands: Sequence[Sequence[object]], size: int) -> list[int]:
    """Return how many of each class make up ``size``: its proportional part, rounded down or up.

    Systematic sampling: the classes lie on a line, and every (all ÷ size)th device is taken from a start that the hash
    chooses. So the parts add up, and what is too rare for every wave is in each with the right chance.
    """
    total = sum(map(len, hands))
    if total == 0:
        return [0 for _ in hands]
    start = _hash(salt, f"wave {number}") * total
    ends = [0]
    behind = 0
    for hand in hands:
        behind += len(hand)
        ends.append((behind * size * _HASHES + start) // (total * _HASHES))
    return [after - before for before, after in pairwise(ends)]


def _held_back(policy: RolloutPolicy, devices: int) -> int:
    if policy.holdback is None or devices < 2:
        return 0
    return min(max(sizes.share_of(policy.holdback, devices), 1), devices - 1)


def _wave_sizes(waves: Sequence[WaveSize], devices: int) -> list[int]:
    """Return how many devices each wave takes: at least one while there are any, leaving one for each later wave."""
    found: list[int] = []
    left = devices
    for wanted, later in zip(_wanted(waves, devices), range(len(waves) - 1, -1, -1), strict=True):
        size = left if later == 0 else min(max(wanted, 1), max(left - later, 1), left)
        found.append(size)
        left -= size
    return found


def _wanted(waves: Sequence[WaveSize], devices: int) -> list[int]:
    wanted: list[int] = []
    share = before = 0
    for size in waves:
        match size:
            case Count():
                wanted.append(size.devices)
            case Rest():
                wanted.append(devices)
            case Percent():
                # The sum of shares is rounded, not each share, or ten waves of 10 % of 15 devices would want 20.
                share += size.hundredths
                upto = sizes.rounded(devices * share, WHOLE)
                wanted.append(upto - before)
                before = upto
    return wanted


# --- sites, whole -------------------------------------------------------------------------------------------------


def _sites_dealt(salt: str, policy: RolloutPolicy, cohort: Sequence[Candidate]) -> dict[DeviceId, int]:
    """Fill each wave with whole sites until it has its size, which the last of them may exceed."""
    units: dict[str, list[DeviceId]] = {}
    for each in cohort:
        units.setdefault(_unit(each), []).append(each.device)
    sites = [units[unit] for unit in sorted(units, key=lambda unit: (_hash(salt, unit), unit))]
    numbers: dict[DeviceId, int] = {}
    want = _held_back(policy, len(cohort))
    held = 0
    while held < want and len(sites) > 1:
        site = sites.pop()
        held += len(site)
        numbers.update((device, holdback_number(policy)) for device in site)
    left = sum(map(len, sites))
    at = 0
    for number, wanted in enumerate(_wanted(policy.waves, left), 1):
        later = len(policy.waves) - number
        taken = 0
        while at < len(sites) and (later == 0 or taken == 0 or (taken < wanted and len(sites) - at > later)):
            taken += len(sites[at])
            numbers.update((device, number) for device in sites[at])
            at += 1
    return numbers


def _unit(candidate: Candidate) -> str:
    return f"site {candidate.site}" if candidate.site else _device(candidate)


def _device(candidate: Candidate) -> str:
    return f"device {candidate.device}"


def _by_device(candidate: Candidate) -> DeviceId:
    return candidate.device


def _hash(salt: str, what: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}\n{what}".encode()).digest()[:8], "big")
