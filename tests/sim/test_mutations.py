"""The simulator finds deliberate bugs, each within a stated number of seeds: its checks can see.

In `make test`, one for each rule is played with the one seed that is known to find it; the soak plays all of them, and
looks for each from the first seed on.
"""

from __future__ import annotations

import pytest

from pinnace_sim import mutations
from pinnace_sim.checks import Rule
from pinnace_sim.mutations import MUTATIONS, Mutation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_there_are_at_least_twelve_of_them() -> None:
    assert len({each.name for each in MUTATIONS}) >= 12


FIRST_OF_A_RULE = {each.rule: each for each in reversed(MUTATIONS)}
PLAYED = [
    pytest.param(each, id=each.name, marks=[] if each is FIRST_OF_A_RULE[each.rule] else [pytest.mark.soak])
    for each in MUTATIONS
]


@pytest.mark.parametrize("mutation", PLAYED)
def test_a_deliberate_bug_is_found(mutation: Mutation) -> None:
    caught = mutations.hunt(mutation, first_seed=mutation.found_by, seeds=1)
    assert caught.rule == mutation.rule, f"{mutation.name}: expected {mutation.rule}, found {caught}"


@pytest.mark.soak
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_a_deliberate_bug_is_found_within_its_stated_number_of_seeds(mutation: Mutation) -> None:
    assert mutations.hunt(mutation, processes=2).rule


def test_a_patch_that_no_longer_fits_is_an_error() -> None:
    edit = mutations.Edit(path="agent/pinnace_agent/store.py", old="no such line", new="")
    gone = Mutation(name="gone", what="nothing", edits=(edit,), rule=Rule.UNSIGNED, seeds=1)
    with pytest.raises(mutations.Unpatchable, match=r"expected once in .*store\.py, found 0 times"):
        mutations.hunt(gone)


def test_the_manual_lists_each_of_them() -> None:
    manual = (mutations.ROOT / "docs" / "simulator.md").read_text()
    for each in MUTATIONS:
        assert f"| `{each.name}` | {each.what} | {each.seeds} |" in manual
