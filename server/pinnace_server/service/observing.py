"""What the planner is shown: a rollout's policy and its devices, read from one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace_contract import codec
from pinnace_contract.ids import DeviceId, ReleaseId
from pinnace_server.domain.plans import Observed, Plan
from pinnace_server.domain.policy import Policy, Target, Terms, Wave
from pinnace_server.domain.records import Member, Rollout, RolloutState
from pinnace_server.service import claims, rules
from pinnace_server.service.ports import Tables


def terms_text(terms: Terms) -> str:
    """Return terms as a rollout keeps them."""
    return codec.to_json(terms).decode()


def policy_of(tables: Tables, rollout: Rollout, members: Sequence[Member], terms: Terms | None = None) -> Policy:
    """Return a rollout as a policy: its terms and, by wave, where each of its devices should go.

    ``terms`` None: those of its row.

    Raises:
        Unreadable: its terms.
    """
    sizes: dict[ReleaseId, tuple[int, int]] = {}
    waves: dict[int, list[Target]] = {}
    for member in members:
        if member.release is not None and member.release not in sizes:
            version = tables.versions.of_release(member.release)
            sizes[member.release] = (version.size_bytes, version.sequence) if version else (0, 0)
        size_bytes, sequence = sizes[member.release] if member.release is not None else (0, 0)
        waves.setdefault(member.wave, []).append(
            Target(
                device=member.device,
                release=member.release,
                release_size_bytes=size_bytes,
                sequence=sequence,
                variants=member.variants,
            )
        )
    return Policy(
        rollout=rollout.id,
        model=rollout.model,
        intent=rollout.intent,
        waves=tuple(Wave(number=number, targets=tuple(targets)) for number, targets in sorted(waves.items())),
        terms=rules.terms_of(rollout) if terms is None else terms,
        cancelled=rollout.state in (RolloutState.CANCELLED, RolloutState.HALTED),
    )


def observe(tables: Tables, rollout: Rollout, members: Sequence[Member]) -> dict[DeviceId, Observed]:
    """Return what is known of each of a rollout's devices."""
    names = [member.device for member in members]
    slots = {slot.device: slot for slot in tables.devices.slots(names, rollout.model)}
    assignments = {each.device: each for each in tables.assignments.of(names) if each.model == rollout.model}
    active = {each.id for each in tables.rollouts.active()}
    rivals = claims.rivals(tables, rollout, names) if rollout.rules else {}
    releases = {member.release for member in members if member.release is not None}
    attempts = {release: tables.receipts.attempts(names, release) for release in releases}
    observed: dict[DeviceId, Observed] = {}
    for device, member in zip(tables.devices.some(names), members, strict=True):
        assignment = assignments.get(member.device)
        busy = assignment is not None and assignment.rollout != rollout.id and assignment.rollout in active
        observed[member.device] = Observed(
            device=device,
            member=member,
            assignment=assignment,
            slot=slots.get(member.device),
            busy=busy and assignment is not None and assignment.outcome is None,
            rival=rivals.get(member.device),
            attempts=attempts[member.release].get(member.device, 0) if member.release is not None else 0,
        )
    return observed


def parent_of(rollout: Rollout) -> Plan | None:
    """Return a stand-in for the newest plan: of old plans only the name is kept, their changes are in the log."""
    if rollout.plan is None:
        return None
    return Plan(id=rollout.plan, parent=None, rollout=rollout.id, made_at_s=0, changes=())
