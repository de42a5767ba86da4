"""Two databases that live through the same random life answer every question alike, failures and all."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from sqlalchemy.exc import NoResultFound

from pinnace_server.db.store import SqlStore
from pinnace_server.service.ports import Store
from pinnace_sim.memory.store import MemoryStore
from tests.server.db.contract.operations import Change, changes, everything
from tests.server.db.contract.rows import VIOLATED, device, model, rollout

TRANSACTIONS = 150
LOOK_EVERY = 10
COMMITTED, UNDONE, REFUSED = "committed", "undone", "refused"


class Undone(Exception):
    pass


def outcome(store: Store, made: Sequence[Change], *, fails: bool) -> tuple[str, list[object]]:
    """Make changes in one transaction; return how it ended and what each of them returned."""
    returned: list[object] = []
    try:
        with store.write() as tables:
            for change in made:
                returned.append(change(tables))
            if fails:
                raise Undone
    except Undone:
        return UNDONE, returned
    except (*VIOLATED, NoResultFound, KeyError):
        return REFUSED, returned
    return COMMITTED, returned


def answers(store: Store) -> dict[str, object]:
    with store.read() as tables:
        return everything(tables)


@pytest.mark.parametrize("seed", range(3))
def test_same_life_gives_the_same_answers(sql: SqlStore, seed: int) -> None:
    chance, memory = Random(seed), MemoryStore()
    ended = {COMMITTED: 0, UNDONE: 0, REFUSED: 0}
    beginning: list[Change] = [
        lambda tables: tables.devices.save(device(1)),
        lambda tables: tables.devices.save(device(2)),
        lambda tables: tables.models.add(model()),
        lambda tables: tables.rollouts.save(rollout("r1")),
    ]
    assert outcome(sql, beginning, fails=False) == outcome(memory, beginning, fails=False)
    for n in range(TRANSACTIONS):
        made = [changes(chance) for _ in range(chance.randint(1, 4))]
        fails = chance.random() < 0.2
        one, other = outcome(sql, made, fails=fails), outcome(memory, made, fails=fails)
        assert other == one, f"seed {seed}, transaction {n}"
        ended[one[0]] += 1
        if n % LOOK_EVERY == 0 or n == TRANSACTIONS - 1:
            expected, found = answers(sql), answers(memory)
            wrong = [question for question, answer in expected.items() if found[question] != answer]
            assert not wrong, f"seed {seed}, transaction {n}: {[(w, expected[w], found[w]) for w in wrong]}"
    assert min(ended.values()) > TRANSACTIONS // 20, f"not everything happened: {ended}"
