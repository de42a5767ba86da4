"""Sites that move whole: they commit together or go back together, and whoever could not hear follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import DevicePlan, Nature, OrderKind
from pinnace_sim.scenarios.ending import Ending
from pinnace_sim.scenarios.form import Scenario, begun, device, first, made, steered, world

CASE: Final = "site must not be mixed"
MADE_S: Final = 3_590.0
BEGUN_S: Final = 3_600.0
LEASE_S: Final = 900
GATES: Final[dict[str, Any]] = {"soak_s": 1_800, "exposure": {"duration_s": 900}}
TERMS: Final[dict[str, Any]] = {"trial": {"inferences": 20, "duration_s": 60}}
SITES: Final[dict[str, Any]] = {
    "strategy": {"kind": "site_atomic", "lease_s": LEASE_S},
    "waves": [1, "rest"],
    "holdback": None,
    "gates": GATES,
    "terms": TERMS,
}
LYON: Final = "abcd"
KIEL: Final = "ef"
MINUTE_S: Final = 60.0


def _fleet(**of: dict[str, Any]) -> list[DevicePlan]:
    """Return four devices at one site and two at another; the slowest link takes ten minutes for a release."""
    sites = [*((name, "lyon") for name in LYON), *((name, "kiel") for name in KIEL)]
    return [_device(name, site, of.get(name, {})) for name, site in sites]


def _device(name: str, site: str, more: Mapping[str, Any]) -> DevicePlan:
    given: dict[str, Any] = {"report_every_s": 300, "site": site, **more}
    return device(name, **given)


def _kept(ending: Ending, who: str) -> list[float]:
    return ending.times("receipt", who, outcome="committed", version="2")


def _spread_s(ending: Ending, site: str) -> float:
    """Return how long it took from the first of a site that kept version 2 to the last."""
    times = [at for who in site for at in _kept(ending, who)]
    return max(times) - min(times) if times else 0.0


def _decided(ending: Ending) -> list[tuple[str, str]]:
    return [(event.data["site"], event.data["verdict"]) for event in ending.events("site_decided")]


def _waited(ending: Ending, *on: str) -> list[str]:
    seen: set[str] = set()
    for line in ending.find("rollout_waits", version="2"):
        devices = line["devices"]
        assert isinstance(devices, dict)
        seen |= set(devices)
    return [f"its devices should have waited on {each}" for each in on if each not in seen]


def _together(ending: Ending) -> Sequence[str]:
    problems = _waited(ending, "SITE_DECISION", "EARLIER_WAVE", "TRIAL")
    if sorted(_decided(ending)) != [("kiel", "commit"), ("lyon", "commit")]:
        problems.append(f"both sites should have committed, not {_decided(ending)}")
    for site in (LYON, KIEL):
        if _spread_s(ending, site) > MINUTE_S:
            problems.append(f"{site} kept version 2 within {_spread_s(ending, site):.0f} s")
    first_s = min(ending.times("phase", "a", phase="prepared"), default=0.0)
    if first_s and min(_kept(ending, "a")) - first_s < MINUTE_S:
        problems.append("a was to wait for d, whose link is slow")
    return problems


TOGETHER: Final = Scenario(
    name="site-commits-together",
    case=CASE,
    see="""Version 2 is good. Four devices at lyon and two at kiel, whole sites a wave. The link of d takes minutes; the
    others of lyon are prepared long before, serve version 2 and wait. They keep it within a minute of each other.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **SITES),
        devices=_fleet(d={"bytes_s": 1_000.0}),
        hours=4.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(LYON + KIEL, "2"),
    events={"wave_started": 2, "wave_promoted": 2, "site_decided": 2},
    also=_together,
)


def _with_one_failure(ending: Ending) -> Sequence[str]:
    problems = [f"{who} kept version 2" for who in LYON + KIEL if _kept(ending, who)]
    if _decided(ending) != [("lyon", "revert")]:
        problems.append(f"lyon should have gone back, not {_decided(ending)}")
    (told,) = ending.find("site", "lyon", prepared="3 of 4")[:1] or [{}]
    return problems if told else [*problems, "three of lyon should have been prepared"]


FAILS: Final = Scenario(
    name="site-goes-back-with-one-of-it",
    case=CASE,
    see="""On d, whose link is slow, version 2 answers its golden vectors wrongly. The others of lyon are prepared and
    serve it; they go back together, and nothing is held against the release there. Kiel is never told.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **SITES),
        devices=_fleet(d={"bytes_s": 1_000.0, "natures": {"2": Nature.WRONG}}),
        hours=2.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(LYON + KIEL, "1"),
    receipts={
        "a": ("1 committed", "2 reverted SITE_REVERTED"),
        "d": ("1 committed", "2 failed GOLDEN_MISMATCH"),
        "e": ("1 committed",),
    },
    events={"wave_started": 1, "site_decided": 1},
    also=_with_one_failure,
)

CUT_S: Final = 3_700.0
BACK_S: Final = 5_400.0


def _converges(ending: Ending) -> Sequence[str]:
    problems = []
    if not ending.find("site", "lyon", mixed=True):
        problems.append("nobody was told that lyon is mixed")
    (late,) = _kept(ending, "b") or [0.0]
    if not BACK_S < late < BACK_S + 4 * MINUTE_S:
        problems.append(f"b should have followed soon after {BACK_S:.0f}, not at {late:.0f}")
    if _spread_s(ending, "acd") > MINUTE_S:
        problems.append("the others should have kept version 2 together")
    if "trial" in [str(line["phase"]) for line in ending.find("phase", "b") if float(str(line["at"])) > BACK_S]:
        problems.append("b tried version 2 a second time")
    return problems


CUT: Final = Scenario(
    name="site-decided-while-one-cannot-hear",
    case=CASE,
    see="""The line of b is cut once it is prepared, and d, whose link is slow, is prepared after that: lyon commits
    without b having heard so. Lyon is mixed and shown so. The lease of b ends, and it goes back; when its line is there
    again it hears the commit, and serves version 2 at once, without a second trial.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **SITES),
        devices=_fleet(d={"bytes_s": 1_000.0}),
        incidents=[Incident(at_s=CUT_S, kind=FaultKind.PARTITION, who="b", lasts_s=BACK_S - CUT_S)],
        hours=4.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(LYON + KIEL, "2"),
    receipts={"b": ("1 committed", "2 reverted LEASE_ENDED", "2 committed")},
    events={"wave_started": 2, "wave_promoted": 2, "site_decided": 2},
    also=_converges,
)

AWAY_S: Final = 3_603.0
AGAIN_S: Final = 7_200.0


def _second_try(ending: Ending) -> Sequence[str]:
    decided = [each for each in _decided(ending) if each[0] == "lyon"]
    problems = [] if decided == [("lyon", "revert"), ("lyon", "commit")] else [f"lyon was decided as {decided}"]
    (first_word, *_) = ending.events("site_decided")
    if "lease" not in first_word.summary:
        problems.append(f"lyon went back because {first_word.summary}")
    return problems if _spread_s(ending, LYON) <= MINUTE_S else [*problems, "lyon should have kept it together"]


LEASE: Final = Scenario(
    name="site-whose-lease-runs-out",
    case=CASE,
    see="""The line of b is cut while it fetches, for an hour. The others of lyon are prepared and wait for it; two
    minutes before their lease of a quarter of an hour ends they are told to go back. Somebody retries: the site tries
    again as a whole, and commits.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **SITES | {"gates": GATES | {"hold_timeout_s": 14_400}}),
        steered(OrderKind.RETRY, AGAIN_S, version="2"),
        devices=_fleet(b={"bytes_s": 20_000.0}),
        incidents=[Incident(at_s=AWAY_S, kind=FaultKind.PARTITION, who="b", lasts_s=3_000.0)],
        hours=5.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(LYON + KIEL, "2"),
    receipts={"a": ("1 committed", "2 reverted SITE_REVERTED", "2 committed")},
    events={"wave_started": 2, "wave_promoted": 2, "site_decided": 3},
    also=_second_try,
)


def _gates_go_back(ending: Ending) -> Sequence[str]:
    return [] if ending.events("gate_fired") else ["the gates should have moved version 2 back"]


ERRS: Final = Scenario(
    name="site-commits-and-the-gates-move-it-back",
    case=CASE,
    see="""Three in a hundred answers of version 2 fail, which no trial notices. Lyon commits it as a whole; the gates
    compare it with kiel, which waits, and move the whole site back.""",
    plan=world(
        first(),
        made("2", MADE_S, nature=Nature.ERRORS_3_PERCENT),
        begun("2", BEGUN_S, **SITES),
        devices=_fleet(),
        hours=3.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(LYON + KIEL, "1"),
    events={"wave_started": 1, "gate_fired": 1, "site_decided": 1},
    also=_gates_go_back,
)

KILLED_S: Final = BEGUN_S + 33.3
CLOCKS_S: Final = 1.0  # the log is read once a second


def _killed_between(ending: Ending) -> Sequence[str]:
    (killed_s,) = ending.times("server_killed")
    decided = ending.events("site_decided")[0]
    decided_s = decided.at_s - (ending.world.server.now() - ending.world.schedule.now_s)
    kept = [at for who in LYON for at in _kept(ending, who)]
    if not decided_s - CLOCKS_S <= killed_s < min(kept, default=0.0):
        return [f"decided at {decided_s:.1f}, killed at {killed_s:.1f}, kept at {kept}"]
    return [] if _spread_s(ending, LYON) <= MINUTE_S else ["lyon should have kept it together"]


KILLED: Final = Scenario(
    name="server-killed-between-a-site-s-decision-and-its-word",
    case="save before acting: a kill of the server between a site's decision and its word to the devices",
    see="""The server is killed right after it wrote down that lyon commits, before any device hears so. When it is back
    it finds the decision, and says it: once, and no other.""",
    plan=world(
        first(),
        made("2", MADE_S),
        begun("2", BEGUN_S, **SITES),
        devices=_fleet(),
        incidents=[Incident(at_s=KILLED_S, kind=FaultKind.SERVER_KILL, lasts_s=20.0, number=1, patient=True)],
        hours=3.0,
        tells_waits=True,
    ),
    serves=dict.fromkeys(LYON + KIEL, "2"),
    events={"site_decided": 2},
    also=_killed_between,
)

ALL: Final = (TOGETHER, FAILS, CUT, LEASE, ERRS, KILLED)
