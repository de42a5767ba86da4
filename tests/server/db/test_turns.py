"""Writers are let in one at a time, in the order in which they came."""

from __future__ import annotations

import threading

from pinnace_server.db.turns import Turns

PATIENCE_S = 30.0


def waiting(turns: Turns) -> int:
    return len(turns._waiting)


def test_turns_come_in_the_order_of_asking_however_often_one_asks_again() -> None:
    turns, order = Turns(), []
    assert turns.acquire(PATIENCE_S)

    def ask(name: str) -> None:
        assert turns.acquire(PATIENCE_S)
        order.append(name)
        turns.release()

    threads = []
    for n in range(5):
        threads.append(threading.Thread(target=ask, args=(f"writer {n}",)))
        threads[-1].start()
        while waiting(turns) <= n:
            pass
    turns.release()
    ask("who held it before")
    for thread in threads:
        thread.join()
    assert order == [*(f"writer {n}" for n in range(5)), "who held it before"]


def test_who_gives_up_is_passed_over() -> None:
    turns = Turns()
    assert turns.acquire(PATIENCE_S)
    assert not turns.acquire(0.0)
    assert waiting(turns) == 0
    turns.release()
    assert turns.acquire(0.0)
