"""What a device does with an assignment, as sentences: the life of an update without disk, broker or worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pinnace_agent.core import events
from pinnace_contract.latest import (
    P95,
    ArmMode,
    Arms,
    Cause,
    ContactMode,
    ContactPolicy,
    Deadlines,
    Intent,
    OnNoContact,
    Outcome,
    Phase,
    Runtime,
    TrialMode,
    TrialPolicy,
    TrustLevel,
    Window,
    WithdrawMode,
)
from tests.agent.core.scene import (
    MISSED,
    SITED,
    START_S,
    V1,
    V2,
    V3,
    Driver,
    digest,
    id_of,
    release,
    variant,
    with_expectations,
    with_requirements,
)

COMMITTED, REVERTED, FAILED = Outcome.COMMITTED, Outcome.REVERTED, Outcome.FAILED
REJECTED, SUPERSEDED, CANCELLED = Outcome.REJECTED, Outcome.SUPERSEDED, Outcome.CANCELLED
TRIAL, AWAITING = Phase.TRIAL, Phase.AWAITING_CONTACT

TWO_BUILDS = release(2, variants=(variant("fp32 of v2"), variant("int8 of v2")))
NEEDS_TFLITE = release(2, variants=(variant("as tflite", Runtime.TFLITE),))
QUIET = ContactPolicy(mode=ContactMode.NONE)
UNTRIED = TrialPolicy(mode=TrialMode.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    sentence: str
    story: Callable[[Driver], Driver]
    ends: list[tuple[Outcome, Cause]]
    serving: str = "v1"
    phase: Phase = Phase.IDLE
    first: bool = False  # without a committed v1 before the story


def two_builds_to(d: Driver, phase: Phase) -> Driver:
    return d.assign(TWO_BUILDS).to(phase)


CASES = [
    # the plain road
    Case(
        sentence="a first release that proves itself and has contact is committed",
        story=lambda d: d.install(V1),
        ends=[(COMMITTED, Cause.NONE)],
        first=True,
    ),
    Case(
        sentence="a newer release takes the place of the last one",
        story=lambda d: d.install(V2),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="a candidate serves during its trial",
        story=lambda d: d.assign(V2).to(TRIAL).activated(),
        ends=[],
        serving="v2",
        phase=TRIAL,
    ),
    Case(
        sentence="a proven release without contact keeps serving and is not a failure",
        story=lambda d: d.assign(V2).to(AWAITING).tick(3 * 86_400),
        ends=[],
        serving="v2",
        phase=AWAITING,
    ),
    Case(
        sentence="contact in mid-trial is enough for the commit at its end",
        story=lambda d: d.assign(V2).to(TRIAL).activated().contact().served(100),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="with contact: none the end of the trial is the commit",
        story=lambda d: d.assign(V2, contact=QUIET).to(TRIAL).activated().served(100),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="with trial: none and contact: none activation is the commit",
        story=lambda d: d.assign(V2, trial=UNTRIED, contact=QUIET).to(TRIAL).activated(),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="with trial: none the self-test still decides",
        story=lambda d: d.assign(V2, trial=UNTRIED, contact=QUIET).to(Phase.SELF_TEST).self_tested(MISSED),
        ends=[(FAILED, Cause.GOLDEN_MISMATCH)],
    ),
    Case(
        sentence="seven days without contact commit by default",
        story=lambda d: d.assign(V2).to(AWAITING).tick(7 * 86_400 + 1),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="seven days without contact revert where the policy says so",
        story=lambda d: (
            d.assign(V2, contact=ContactPolicy(on_no_contact=OnNoContact.REVERT))
            .to(AWAITING)
            .tick(7 * 86_400 + 1)
            .reverted()
        ),
        ends=[(REVERTED, Cause.NO_CONTACT)],
    ),
    Case(
        sentence="an entry that names what is committed is answered at once",
        story=lambda d: d.assign(V1),
        ends=[(COMMITTED, Cause.NONE)],
    ),
    Case(
        sentence="an entry without variants takes the release's own order",
        story=lambda d: d.assign(TWO_BUILDS, variants=()).to(Phase.IDLE),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    # the model fails
    Case(
        sentence="a golden mismatch in the self-test fails before anything served",
        story=lambda d: d.assign(V2).to(Phase.SELF_TEST).self_tested(MISSED),
        ends=[(FAILED, Cause.GOLDEN_MISMATCH)],
    ),
    Case(
        sentence="a model that cannot be loaded fails",
        story=lambda d: d.assign(V2).to(Phase.SELF_TEST).self_test_failed(Cause.LOAD_FAILED),
        ends=[(FAILED, Cause.LOAD_FAILED)],
    ),
    Case(
        sentence="three crashes in the trial put the last good one back",
        story=lambda d: d.assign(V2).to(TRIAL).activated().exits().activated().exits().activated().exits().reverted(),
        ends=[(REVERTED, Cause.CRASHED)],
    ),
    Case(
        sentence="two crashes are forgiven",
        story=lambda d: (
            d.assign(V2).to(TRIAL).activated().exits().activated().exits().activated().served(100).contact()
        ),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="a candidate that hangs again and again is reverted as hung",
        story=lambda d: (
            d.assign(V2)
            .to(TRIAL)
            .activated()
            .exits(Cause.HUNG)
            .activated()
            .exits(Cause.HUNG)
            .activated()
            .exits(Cause.HUNG)
            .reverted()
        ),
        ends=[(REVERTED, Cause.HUNG)],
    ),
    Case(
        sentence="a candidate whose file has changed on the disk is not started a second time",
        story=lambda d: d.assign(V2).to(TRIAL).activated().exits(Cause.DIGEST_MISMATCH).reverted(),
        ends=[(REVERTED, Cause.DIGEST_MISMATCH)],
    ),
    Case(
        sentence="an error rate over the expectation reverts",
        story=lambda d: d.assign(with_expectations(2)).to(TRIAL).activated().served(60, errors=3).reverted(),
        ends=[(REVERTED, Cause.ERROR_RATE)],
    ),
    Case(
        sentence="errors are not judged under fifty inferences",
        story=lambda d: d.assign(with_expectations(2)).to(TRIAL).activated().served(49, errors=49),
        ends=[],
        serving="v2",
        phase=TRIAL,
    ),
    Case(
        sentence="latency over the expectation of this hardware reverts",
        story=lambda d: (
            d.assign(with_expectations(2, p95=(P95(hardware="rpi4", p95_ms=20), P95(hardware="*", p95_ms=99))))
            .to(TRIAL)
            .activated()
            .served(60, p95_ms=21, samples=60)
            .reverted()
        ),
        ends=[(REVERTED, Cause.LATENCY)],
    ),
    Case(
        sentence="an expectation for other hardware does not count",
        story=lambda d: (
            d.assign(with_expectations(2, p95=(P95(hardware="jetson", p95_ms=5),)))
            .to(TRIAL)
            .activated()
            .served(60, p95_ms=21, samples=60)
        ),
        ends=[],
        serving="v2",
        phase=TRIAL,
    ),
    Case(
        sentence="golden vectors that are answered differently in mid-trial revert",
        story=lambda d: d.assign(V2).to(TRIAL).activated().tick(60).replayed(golden=MISSED).reverted(),
        ends=[(REVERTED, Cause.GOLDEN_MISMATCH)],
    ),
    Case(
        sentence="a first release that fails its trial leaves no model",
        story=lambda d: d.assign(V1).to(TRIAL).activated().exits(Cause.LOAD_FAILED).reverted(),
        ends=[(REVERTED, Cause.LOAD_FAILED)],
        serving="nothing",
        first=True,
    ),
    Case(
        sentence="a crash while awaiting contact still counts",
        story=lambda d: d.assign(V2).to(AWAITING).exits().activated().exits().activated().exits().reverted(),
        ends=[(REVERTED, Cause.CRASHED)],
    ),
    # variants
    Case(
        sentence="a variant that does not load gives way to the next of the entry",
        story=lambda d: two_builds_to(d, Phase.SELF_TEST).self_test_failed(Cause.LOAD_FAILED).to(Phase.IDLE),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="a variant that dies in its self-test gives way to the next",
        story=lambda d: two_builds_to(d, Phase.SELF_TEST).self_test_failed(Cause.CRASHED).to(Phase.IDLE),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="a blob of a wrong digest gives way to the next variant",
        story=lambda d: two_builds_to(d, Phase.VERIFYING).verify_failed(Cause.DIGEST_MISMATCH).to(Phase.IDLE),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="a broken disk fails the attempt whatever the variant",
        story=lambda d: two_builds_to(d, Phase.VERIFYING).verify_failed(Cause.STORAGE_ERROR),
        ends=[(FAILED, Cause.STORAGE_ERROR)],
    ),
    Case(
        sentence="the last variant's failure is the attempt's",
        story=lambda d: (
            two_builds_to(d, Phase.SELF_TEST)
            .self_test_failed(Cause.LOAD_FAILED)
            .to(Phase.SELF_TEST)
            .self_tested(MISSED)
        ),
        ends=[(FAILED, Cause.GOLDEN_MISMATCH)],
    ),
    Case(
        sentence="a variant that the release does not have is refused",
        story=lambda d: d.assign(V2, variants=(digest("nobody's"),)).read(),
        ends=[(REJECTED, Cause.NO_VARIANT)],
    ),
    # what is wrong with the assignment
    Case(
        sentence="an upgrade to an older release is refused",
        story=lambda d: d.install(V2).assign(V1).read(),
        ends=[(COMMITTED, Cause.NONE), (REJECTED, Cause.OLDER_RELEASE)],
        serving="v2",
    ),
    Case(
        sentence="a release below the floor is refused",
        story=lambda d: d.install(release(2, epoch=3)).assign(release(3, epoch=2)).read(),
        ends=[(COMMITTED, Cause.NONE), (REJECTED, Cause.BELOW_FLOOR)],
        serving="v2",
    ),
    Case(
        sentence="a release of a lower trust level than asked for is refused",
        story=lambda d: d.assign(V2, least_trust=TrustLevel.CEREMONY).read(TrustLevel.DELEGATED),
        ends=[(REJECTED, Cause.TRUST_TOO_LOW)],
    ),
    Case(
        sentence="a release whose signature is wrong is refused",
        story=lambda d: d.assign(V2).refused(Cause.SIGNATURE_INVALID),
        ends=[(REJECTED, Cause.SIGNATURE_INVALID)],
    ),
    Case(
        sentence="a release file that never comes is a failure, not a refusal",
        story=lambda d: d.assign(V2).refused(Cause.TRANSFER_FAILED),
        ends=[(FAILED, Cause.TRANSFER_FAILED)],
    ),
    Case(
        sentence="a release for other hardware is refused",
        story=lambda d: d.assign(with_requirements(2, hardware=("jetson",))).read(),
        ends=[(REJECTED, Cause.HARDWARE_MISMATCH)],
    ),
    Case(
        sentence="a release for a newer agent is refused",
        story=lambda d: d.assign(with_requirements(2, agent_version="0.10.0")).read(),
        ends=[(REJECTED, Cause.AGENT_TOO_OLD)],
    ),
    Case(
        sentence="a release without a runtime here is refused",
        story=lambda d: d.runtime_becomes("1.20").assign(NEEDS_TFLITE).read(),
        ends=[(REJECTED, Cause.NO_RUNTIME)],
    ),
    Case(
        sentence="arms that are not known are refused by name, not ignored",
        story=lambda d: d.assign(
            V2, arms=Arms(mode=ArmMode.UNKNOWN, control=id_of(V1), share_percent=10, until_s=int(START_S))
        ),
        ends=[(REJECTED, Cause.AGENT_TOO_OLD)],
    ),
    Case(
        sentence="a site-atomic entry without the name of its site is refused",
        story=lambda d: d.assign(V2, **SITED | {"site": ""}),
        ends=[(REJECTED, Cause.RELEASE_INVALID)],
    ),
    Case(
        sentence="a site-atomic entry whose lease never ends is refused",
        story=lambda d: d.assign(V2, **SITED | {"lease_s": 0}),
        ends=[(REJECTED, Cause.RELEASE_INVALID)],
    ),
    Case(
        sentence="a lease without a site is refused, not ignored",
        story=lambda d: d.assign(V2, lease_s=60),
        ends=[(REJECTED, Cause.RELEASE_INVALID)],
    ),
    Case(
        sentence="a site does not decide about a rollback",
        story=lambda d: d.install(V1).assign(V1, **SITED | {"intent": Intent.ROLLBACK}),
        ends=[(Outcome.COMMITTED, Cause.NONE), (REJECTED, Cause.RELEASE_INVALID)],
    ),
    Case(
        sentence="an intent of a newer server is refused",
        story=lambda d: d.assign(V2, intent=Intent.UNKNOWN),
        ends=[(REJECTED, Cause.AGENT_TOO_OLD)],
    ),
    Case(
        sentence="a policy value of a newer server is refused",
        story=lambda d: d.assign(V2, trial=TrialPolicy(mode=TrialMode.UNKNOWN)),
        ends=[(REJECTED, Cause.AGENT_TOO_OLD)],
    ),
    Case(
        sentence="an upgrade without a release is refused",
        story=lambda d: d.assign(V2, release=None),
        ends=[(REJECTED, Cause.RELEASE_INVALID)],
    ),
    # known bad
    Case(
        sentence="a release that failed its golden vectors here is not tried again, whatever the attempt",
        story=lambda d: d.assign(V2).to(Phase.SELF_TEST).self_tested(MISSED).assign(V2, attempt=2).read(),
        ends=[(FAILED, Cause.GOLDEN_MISMATCH), (REJECTED, Cause.KNOWN_BAD)],
    ),
    Case(
        sentence="a new version of the runtime gives a bad release another chance",
        story=lambda d: d.assign(V2).to(Phase.SELF_TEST).self_tested(MISSED).runtime_becomes("1.21").install(V2),
        ends=[(FAILED, Cause.GOLDEN_MISMATCH), (COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="a transient failure stays bad for the same attempt",
        story=lambda d: d.assign(V2).to(Phase.FETCHING).fetch_failed(Cause.NO_ROOM).assign(V2).read(),
        ends=[(FAILED, Cause.NO_ROOM), (REJECTED, Cause.KNOWN_BAD)],
    ),
    Case(
        sentence="attempt + 1 clears a transient failure",
        story=lambda d: d.assign(V2).to(Phase.FETCHING).fetch_failed(Cause.NO_ROOM).install(V2, attempt=2),
        ends=[(FAILED, Cause.NO_ROOM), (COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="a revert for a newer assignment leaves nothing bad behind",
        story=lambda d: (
            d.assign(V2).to(TRIAL).activated().assign(V3).reverted().refused(Cause.TRANSFER_FAILED).install(V2)
        ),
        ends=[(REVERTED, Cause.NEWER_GENERATION), (FAILED, Cause.TRANSFER_FAILED), (COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    # rollback
    Case(
        sentence="a rollback goes back to a committed release without a trial or contact",
        story=lambda d: d.install(V2).assign(V1, intent=Intent.ROLLBACK).to(TRIAL).activated(),
        ends=[(COMMITTED, Cause.NONE), (COMMITTED, Cause.NONE)],
    ),
    Case(
        sentence="a rollback to a release that was never committed here has no fallback",
        story=lambda d: d.install(V2).assign(V3, intent=Intent.ROLLBACK),
        ends=[(COMMITTED, Cause.NONE), (REJECTED, Cause.NO_FALLBACK)],
        serving="v2",
    ),
    Case(
        sentence="a rollback below the floor is refused",
        story=lambda d: d.install(release(2, epoch=1)).assign(V1, intent=Intent.ROLLBACK),
        ends=[(COMMITTED, Cause.NONE), (REJECTED, Cause.BELOW_FLOOR)],
        serving="v2",
    ),
    Case(
        sentence="a rollback ignores a veto",
        story=lambda d: d.install(V2).veto(600).assign(V1, intent=Intent.ROLLBACK).to(TRIAL).activated(),
        ends=[(COMMITTED, Cause.NONE), (COMMITTED, Cause.NONE)],
    ),
    Case(
        sentence="a rollback ignores a window",
        story=lambda d: (
            d.install(V2)
            .assign(
                V1,
                intent=Intent.ROLLBACK,
                window=Window(opens_s=int(START_S) + 9_999_999, closes_s=int(START_S) + 10**8),
            )
            .to(TRIAL)
            .activated()
        ),
        ends=[(COMMITTED, Cause.NONE), (COMMITTED, Cause.NONE)],
    ),
    Case(
        sentence="a rolled-back release can be assigned again as an upgrade",
        story=lambda d: d.install(V2).install(V1, intent=Intent.ROLLBACK).install(V2),
        ends=[(COMMITTED, Cause.NONE)] * 3,
        serving="v2",
    ),
    # holds
    Case(
        sentence="a veto holds a staged release",
        story=lambda d: d.veto(600).assign(V2).to(Phase.VERIFYING).verified().tick(500),
        ends=[],
        phase=Phase.STAGED,
    ),
    Case(
        sentence="a veto that ran out no longer holds",
        story=lambda d: d.veto(600).assign(V2).to(Phase.VERIFYING).verified().tick(601),
        ends=[],
        phase=Phase.SELF_TEST,
    ),
    Case(
        sentence="a lifted veto lets go at once",
        story=lambda d: d.veto(600).assign(V2).to(Phase.VERIFYING).verified().event(events.VetoLifted()),
        ends=[],
        phase=Phase.SELF_TEST,
    ),
    Case(
        sentence="a window holds a staged release until it opens",
        story=lambda d: (
            d.assign(V2, window=Window(opens_s=int(START_S) + 100, closes_s=int(START_S) + 200))
            .to(Phase.VERIFYING)
            .verified()
        ),
        ends=[],
        phase=Phase.STAGED,
    ),
    Case(
        sentence="an open window lets go",
        story=lambda d: (
            d.assign(V2, window=Window(opens_s=int(START_S) + 100, closes_s=int(START_S) + 200))
            .to(Phase.VERIFYING)
            .verified()
            .tick(150)
        ),
        ends=[],
        phase=Phase.SELF_TEST,
    ),
    Case(
        sentence="a window that closed before it was used fails the attempt",
        story=lambda d: (
            d.assign(V2, window=Window(opens_s=int(START_S) + 100, closes_s=int(START_S) + 200))
            .to(Phase.VERIFYING)
            .verified()
            .tick(300)
        ),
        ends=[(FAILED, Cause.DEADLINE)],
    ),
    Case(
        sentence="a window that closed while the release was fetched fails the attempt",
        story=lambda d: (
            d.assign(V2, window=Window(opens_s=int(START_S), closes_s=int(START_S) + 200))
            .to(Phase.FETCHING)
            .tick(300)
            .fetched()
            .verified()
        ),
        ends=[(FAILED, Cause.DEADLINE)],
    ),
    Case(
        sentence="a release with a contract that applications do not accept stays offered",
        story=lambda d: (
            d.event(events.ContractsDeclared(accepts=(digest("another contract"),))).assign(V2).read().tick()
        ),
        ends=[],
        phase=Phase.OFFERED,
    ),
    Case(
        sentence="applications that learn the contract let the release go on",
        story=lambda d: (
            d.event(events.ContractsDeclared(accepts=(digest("another contract"),)))
            .assign(V2)
            .read()
            .event(events.ContractsDeclared(accepts=()))
            .to(Phase.IDLE)
        ),
        ends=[(COMMITTED, Cause.NONE)],
        serving="v2",
    ),
    Case(
        sentence="a metered link holds an entry that may not use it",
        story=lambda d: d.metered().assign(V2, metered=False).read().tick(),
        ends=[],
        phase=Phase.OFFERED,
    ),
    Case(
        sentence="a link that is no longer metered lets go",
        story=lambda d: d.metered().assign(V2, metered=False).read().metered(False).tick(),
        ends=[],
        phase=Phase.FETCHING,
    ),
    # deadlines
    Case(
        sentence="fetching ends after its deadline",
        story=lambda d: d.assign(V2).to(Phase.FETCHING).tick(86_401),
        ends=[(FAILED, Cause.DEADLINE)],
    ),
    Case(
        sentence="waiting for the release file ends after the same deadline",
        story=lambda d: d.assign(V2).tick(86_401),
        ends=[(FAILED, Cause.DEADLINE)],
    ),
    Case(
        sentence="verifying ends some time",
        story=lambda d: d.assign(V2).to(Phase.VERIFYING).tick(4_000),
        ends=[(FAILED, Cause.DEADLINE)],
    ),
    Case(
        sentence="a self-test ends after ten minutes",
        story=lambda d: d.assign(V2).to(Phase.SELF_TEST).tick(601),
        ends=[(FAILED, Cause.DEADLINE)],
    ),
    Case(
        sentence="a candidate whose activation is never answered is reverted",
        story=lambda d: d.assign(V2).to(TRIAL).tick(4_500).reverted(),
        ends=[(REVERTED, Cause.DEADLINE)],
    ),
    Case(
        sentence="what was not accepted in time is refused",
        story=lambda d: (
            d.metered().assign(V2, metered=False, deadlines=Deadlines(accept_by_s=int(START_S) + 60)).read().tick(61)
        ),
        ends=[(REJECTED, Cause.DEADLINE)],
    ),
    Case(
        sentence="an entry that comes after its time is refused at once",
        story=lambda d: d.assign(V2, deadlines=Deadlines(accept_by_s=int(START_S) - 60)),
        ends=[(REJECTED, Cause.DEADLINE)],
    ),
    Case(
        sentence="what was not committed in time fails before its trial",
        story=lambda d: (
            d.veto(86_400).assign(V2, deadlines=Deadlines(commit_by_s=int(START_S) + 60)).to(Phase.STAGED).tick(61)
        ),
        ends=[(FAILED, Cause.DEADLINE)],
    ),
    Case(
        sentence="what was not committed in time is reverted from its trial",
        story=lambda d: (
            d.assign(V2, deadlines=Deadlines(commit_by_s=int(START_S) + 60)).to(TRIAL).activated().tick(61).reverted()
        ),
        ends=[(REVERTED, Cause.DEADLINE)],
    ),
    # removal
    Case(
        sentence="a removal leaves nothing to serve",
        story=lambda d: d.assign(V1, intent=Intent.REMOVE, release=None, variants=()),
        ends=[(COMMITTED, Cause.REMOVED)],
        serving="nothing",
    ),
    Case(
        sentence="a removal waits for a veto",
        story=lambda d: d.veto(600).assign(V1, intent=Intent.REMOVE, release=None, variants=()),
        ends=[],
        phase=Phase.STAGED,
    ),
    Case(
        sentence="a removal that comes after its window removes nothing",
        story=lambda d: d.later(300).assign(
            V1,
            intent=Intent.REMOVE,
            release=None,
            variants=(),
            window=Window(opens_s=int(START_S), closes_s=int(START_S) + 200),
        ),
        ends=[(FAILED, Cause.DEADLINE)],
    ),
    Case(
        sentence="a removed model does not come back older than its floor",
        story=lambda d: (
            d.install(release(2, epoch=2)).assign(V1, intent=Intent.REMOVE, release=None, variants=()).assign(V3).read()
        ),
        ends=[(COMMITTED, Cause.NONE), (COMMITTED, Cause.REMOVED), (REJECTED, Cause.BELOW_FLOOR)],
        serving="nothing",
    ),
    # withdrawal
    Case(
        sentence="a retired release may go on serving",
        story=lambda d: d.withdraw(V1, WithdrawMode.RETIRE),
        ends=[],
    ),
    Case(
        sentence="a retired release is not activated any more",
        story=lambda d: d.withdraw(V2, WithdrawMode.RETIRE).assign(V2),
        ends=[(REJECTED, Cause.WITHDRAWN)],
    ),
    Case(
        sentence="a release that is withdrawn while it is fetched is dropped",
        story=lambda d: d.assign(V2).to(Phase.FETCHING).withdraw(V2, WithdrawMode.RETIRE),
        ends=[(REJECTED, Cause.WITHDRAWN)],
    ),
    Case(
        sentence="a release that is withdrawn in its trial is reverted",
        story=lambda d: d.assign(V2).to(TRIAL).activated().withdraw(V2, WithdrawMode.RETIRE).reverted(),
        ends=[(REVERTED, Cause.WITHDRAWN)],
    ),
    Case(
        sentence="a stopped release gives way to the last good one",
        story=lambda d: d.install(V2).withdraw(V2, WithdrawMode.STOP),
        ends=[(COMMITTED, Cause.NONE), (REVERTED, Cause.WITHDRAWN)],
    ),
    Case(
        sentence="the only release, stopped, leaves nothing",
        story=lambda d: d.withdraw(V1, WithdrawMode.STOP),
        ends=[(REVERTED, Cause.WITHDRAWN)],
        serving="nothing",
    ),
    # what is committed breaks
    Case(
        sentence="a committed model that crashes is started again, however often",
        story=lambda d: d.exits().exits().exits().exits(),
        ends=[],
    ),
    Case(
        sentence="a committed model whose file is damaged gives way to the last good one",
        story=lambda d: d.install(V2).exits(Cause.DIGEST_MISMATCH),
        ends=[(COMMITTED, Cause.NONE), (REVERTED, Cause.DIGEST_MISMATCH)],
    ),
    Case(
        sentence="a last good one that does not start gives way to the one before",
        story=lambda d: (
            d.install(V2).assign(V3).to(TRIAL).activated().exits(Cause.LOAD_FAILED).revert_failed().reverted()
        ),
        ends=[(COMMITTED, Cause.NONE), (REVERTED, Cause.LOAD_FAILED)],
    ),
    Case(
        sentence="with nothing left that starts there is no model",
        story=lambda d: d.assign(V2).to(TRIAL).activated().exits(Cause.LOAD_FAILED).revert_failed().reverted(),
        ends=[(REVERTED, Cause.LOAD_FAILED)],
        serving="nothing",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence.replace(" ", "_"))
def test_lifecycle(case: Case) -> None:
    d = Driver()
    if not case.first:
        d.install(V1)
        d.receipts.clear()
    case.story(d)
    assert d.outcomes == case.ends
    assert d.phase is case.phase
    assert d.serving == case.serving
    assert (d.slot.work is None) == (d.phase is Phase.IDLE)
    assert len({receipt.id for receipt in d.receipts}) == len(d.receipts)
