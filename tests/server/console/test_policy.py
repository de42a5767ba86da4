"""Headers, static files and budgets: what every answer must carry, and how much a page may cost."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import pinnace_server.console
from pinnace_contract.latest import Cause, Outcome, Phase
from pinnace_server.console import svg, words
from pinnace_server.console.statics import Statics
from pinnace_server.domain.gates.evidence import Guard
from pinnace_server.domain.gates.verdicts import Decision, Kind
from pinnace_server.domain.records import RolloutState, Status
from tests.server.console.fleet import MODEL

STATIC = Path(pinnace_server.console.__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
RUNTIME = ("swap.js", "morph.js", "live.js", "live-worker.js", "dialog.js", "main.js")
RUNTIME_LINES_MAX = CHART_LINES_MAX = 400
PAGE_PACKED_BYTES_MAX = 60_000


@pytest.mark.parametrize("address", ["/", "/devices", "/login", "/nowhere", "/devices/nobody", "/events/x"])
def test_every_answer_carries_the_policy(operator: TestClient, address: str) -> None:
    answer = operator.get(address)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])


def test_static_files_are_kept_for_ever_under_the_name_of_their_content(stranger: TestClient) -> None:
    statics = Statics()
    answer = stranger.get(statics.address("main.js"), headers={"Accept-Encoding": "gzip"})
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.text == (STATIC / "main.js").read_text()


@pytest.mark.parametrize("path", ["/static/0/main.js", "/static/{}/nothing.js", "/static/{}/..%2fmounting.py"])
def test_other_static_addresses_are_gone(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path.format(Statics().build))
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"


def test_changed_file_changes_every_address(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    before = Statics(tmp_path)
    (tmp_path / "a.js").write_text("2")
    assert Statics(tmp_path).address("a.js") != before.address("a.js")


def _lines_of_code(name: str) -> int:
    source = re.sub(r"/\*\*.*?\*/", "", (STATIC / name).read_text(), flags=re.DOTALL)
    return sum(bool(line.strip()) and not line.strip().startswith("//") for line in source.splitlines())


def test_runtime_stays_small_enough_to_own() -> None:
    """Past this, design says: take htmx and uPlot. Types in comments do not count, they are not code to own."""
    assert sum(_lines_of_code(name) for name in RUNTIME) < RUNTIME_LINES_MAX
    assert _lines_of_code("chart.js") < CHART_LINES_MAX


def test_every_module_asks_to_be_checked_and_imports_only_its_neighbours() -> None:
    for path in STATIC.glob("*.js"):
        source = path.read_text()
        assert source.startswith("// @ts-check\n"), path
        assert all(
            re.fullmatch(r"\./[a-z-]+\.js", name) for name in re.findall(r'(?:from|import\() ?"([^"]+)"', source)
        )
        assert not re.search(r"\beval\(|new Function|document\.write|outerHTML ?=", source), path


def test_only_what_the_server_made_becomes_html() -> None:
    found = [path.name for path in STATIC.glob("*.js") if "innerHTML" in path.read_text()]
    assert found == ["swap.js"]


def test_scripts_do_not_need_a_secure_context() -> None:
    """On a plain-HTTP LAN these do not exist; the clipboard has another way behind it."""
    for path in STATIC.glob("*.js"):
        source = path.read_text()
        assert "navigator.locks" not in source
        assert "randomUUID" not in source
        assert "navigator.clipboard" not in source or "execCommand" in source


@pytest.mark.parametrize(
    "address", ["/", "/devices?size=100", "/devices/dev-0006", f"/models/{MODEL}/5", "/log?size=100", "/rollouts/r-5"]
)
def test_cold_page_with_everything_it_loads_is_within_budget(operator: TestClient, address: str) -> None:
    files = sum(len(gzip.compress(path.read_bytes())) for path in STATIC.iterdir())
    operator.headers["Accept-Encoding"] = "gzip"
    answer = operator.get(address)
    assert answer.headers["content-encoding"] == "gzip"
    assert files + int(answer.headers["content-length"]) < PAGE_PACKED_BYTES_MAX


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.NONE])
def test_every_cause_has_a_sentence_and_a_next_step(cause: Cause) -> None:
    happened, next_step = words.CAUSE_WORDS[cause]
    assert happened.endswith(".")
    assert next_step.endswith(".")


def test_every_closed_set_has_a_look() -> None:
    assert set(words.PHASE_WORDS) == set(Phase)
    assert set(words.OUTCOME_LOOK) == set(Outcome)
    assert set(words.ROLLOUT_LOOK) == set(RolloutState)
    assert set(words.DECISION_LOOK) == set(Decision)
    assert set(words.COMPARED_WITH) == set(Kind)
    assert set(words.GUARD_WORDS) == set(Guard)
    assert set(words.STATUS_LOOK) == set(words.STATUS_MEANING) == set(Status)


def test_every_shape_that_is_used_is_drawn() -> None:
    drawn = set(re.findall(r'id="shape-([a-z]+)"', (STATIC.parent / "templates" / "icons.html").read_text()))
    looks = [*words.STATUS_LOOK.values(), *words.OUTCOME_LOOK.values(), *words.ROLLOUT_LOOK.values()]
    looks += [*words.NEED_LOOK.values(), *words.WAVE_LOOK.values(), *words.DECISION_LOOK.values()]
    used = {shape for _, shape, _ in looks}
    used |= {shape for shape, _ in words.SEVERITY_LOOK.values()}
    for template in (STATIC.parent / "templates").glob("*.html"):
        used |= set(re.findall(r'shape\("([a-z]+)"', template.read_text()))
    assert used <= drawn


@pytest.mark.parametrize(
    ("log_e", "said"),
    [
        (-40.0, "< ×0.01"),
        (-3.0, "×0.05"),
        (0.0, "×1"),
        (1.0, "×2.7"),
        (math.log(4_000), "×4,000"),
        (math.log(1e10), "×10¹⁰"),
        (700.0, "×10³⁰⁴"),
    ],
)
def test_evidence_is_a_factor_that_a_person_can_read(log_e: float, said: str) -> None:
    assert words.evidence(log_e) == said


@pytest.mark.parametrize(
    ("value", "limit", "width"),
    [(-5.0, 8.0, 0.0), (0.0, 8.0, 0.0), (0.001, 8.0, 4.0), (4.0, 8.0, 300.0), (99.0, 8.0, 600.0), (1.0, 0.0, 4.0)],
    ids=["against it", "nothing", "a sliver", "half", "past the limit", "no limit"],
)
def test_meter_is_as_wide_as_its_evidence(value: float, limit: float, width: float) -> None:
    assert f'width="{width:.1f}"' in svg.meter(value, limit, "words", "ok")
