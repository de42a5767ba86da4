"""The picture in the manual is the table's."""

from pathlib import Path

from pinnace_agent.core import diagram
from pinnace_agent.core.lifecycle import PHASES, TABLE

ROOT = Path(__file__).parents[3]


def test_page_of_the_manual_is_current() -> None:
    found = (ROOT / diagram.PAGE).read_text()
    assert found == diagram.page(), f"write it again: python -m pinnace_agent.core.diagram > {diagram.PAGE}"


def test_diagram_shows_every_move_of_the_table() -> None:
    drawn = diagram.mermaid()
    for (phase, event), row in TABLE.items():
        for to in row.to:
            if to is not phase:
                (arrow,) = [line for line in drawn.splitlines() if line.strip().startswith(f"{phase} --> {to}:")]
                assert event.__name__ in arrow


def test_every_phase_is_reached_and_left() -> None:
    moves = {(phase, to) for (phase, _), row in TABLE.items() for to in row.to if to is not phase}
    assert {phase for phase, _ in moves} >= set(PHASES) - {PHASES[0]}
    assert {to for _, to in moves} >= set(PHASES) - {PHASES[1]}
