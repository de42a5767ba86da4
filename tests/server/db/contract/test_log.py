"""The log, claim tokens and jobs, over both databases."""

from __future__ import annotations

import pytest

from pinnace_contract.ids import RolloutId, VersionName
from pinnace_server.domain.queries import EventQuery, Page
from pinnace_server.domain.records import EventKind, JobState, Severity, TokenId
from pinnace_server.service.ports import Store
from tests.server.db.contract.rows import DIGITS, NOW, VIOLATED, WORDS, camera, claim, event, job, undone, written

EVENTS = [
    event("a camera came", kind=EventKind.DEVICE_ONLINE, device=camera(1), actor="device:camera-1"),
    event("of 100 %", model=DIGITS, version=VersionName("1"), severity=Severity.ERROR, data={"b": "1", "a": "2"}),
    event("of_words", model=WORDS, rollout=RolloutId("r1"), kind=EventKind.ROLLOUT_CREATED),
    event("ÄRGER", device=camera(2), severity=Severity.WARNING),
    event("the end", at_s=NOW - 9),
]


class TestEvents:
    @pytest.fixture(autouse=True)
    def log(self, store: Store) -> None:
        with store.write() as tables:
            assert [tables.events.append(each) for each in EVENTS] == [1, 2, 3, 4, 5]

    def test_event_comes_back_with_its_number(self, store: Store) -> None:
        with store.read() as tables:
            (found,) = tables.events.listing(EventQuery(model=DIGITS)).rows
            assert tables.events.last_number() == 5
        assert found == event(
            "of 100 %", number=2, model=DIGITS, version=VersionName("1"), severity=Severity.ERROR, data=EVENTS[1].data
        )
        assert list(found.data) == ["b", "a"]

    @pytest.mark.parametrize(
        ("query", "numbers"),
        [
            (EventQuery(), [5, 4, 3, 2, 1]),
            (EventQuery(after=0), [1, 2, 3, 4, 5]),
            (EventQuery(after=3), [4, 5]),
            (EventQuery(after=-1), [1, 2, 3, 4, 5]),
            (EventQuery(after=99), []),
            (EventQuery(after=1, kinds=(EventKind.MODEL_ADDED,)), [2, 4, 5]),
            (EventQuery(kinds=(EventKind.DEVICE_ONLINE, EventKind.ROLLOUT_CREATED)), [3, 1]),
            (EventQuery(severity=Severity.WARNING), [4]),
            (EventQuery(device=camera(1)), [1]),
            (EventQuery(model=WORDS), [3]),
            (EventQuery(version=VersionName("1")), [2]),
            (EventQuery(rollout=RolloutId("r1")), [3]),
            (EventQuery(actor="device:camera-1"), [1]),
            (EventQuery(actor="test", severity=Severity.INFO), [5, 3]),
            (EventQuery(since_s=NOW), [4, 3, 2, 1]),
            (EventQuery(since_s=NOW - 9, after=3), [4, 5]),
            (EventQuery(since_s=NOW + 1), []),
            (EventQuery(text="CAMERA-2"), [4]),
            (EventQuery(text="camera"), [4, 1]),
            (EventQuery(text="of_"), [3]),
            (EventQuery(text="%"), [2]),
            (EventQuery(text="Är"), [4]),
            (EventQuery(text="är"), []),
            (EventQuery(text="/"), []),
        ],
    )
    def test_filter(self, store: Store, query: EventQuery, numbers: list[int]) -> None:
        with store.read() as tables:
            found = tables.events.listing(query)
        assert ([each.number for each in found.rows], found.total) == (numbers, len(numbers))

    @pytest.mark.parametrize(
        ("query", "numbers"),
        [
            (EventQuery(page=Page(limit=2)), [5, 4]),
            (EventQuery(page=Page(limit=2, offset=4)), [1]),
            (EventQuery(after=0, page=Page(limit=2, offset=2)), [3, 4]),
        ],
    )
    def test_page(self, store: Store, query: EventQuery, numbers: list[int]) -> None:
        with store.read() as tables:
            found = tables.events.listing(query)
        assert ([each.number for each in found.rows], found.total) == (numbers, 5)

    def test_caller_who_changes_his_data_later_changes_no_event(self, store: Store) -> None:
        data = {"a": "1"}
        written(store, lambda tables: tables.events.append(event("kept", data=data)))
        data["a"] = "2"
        with store.read() as tables:
            assert tables.events.listing(EventQuery(text="kept")).rows[0].data == {"a": "1"}


class TestClaims:
    def test_token_is_found_by_id_and_by_hash(self, store: Store) -> None:
        said = claim("a", note="for the hall", serial_pattern="S*", labels={"site": "lyon"})
        written(store, lambda tables: tables.claims.save(said))
        with store.read() as tables:
            assert tables.claims.get(said.id) == said
            assert tables.claims.of_hash(said.secret_hash) == said
            assert tables.claims.get(TokenId("b")) is None
            assert tables.claims.of_hash("another") is None

    def test_saving_again_replaces(self, store: Store) -> None:
        with store.write() as tables:
            tables.claims.save(claim("a", uses_left=2))
            tables.claims.save(claim("a", uses_left=1))
            tables.claims.save(claim("a", secret_hash="new"))
        with store.read() as tables:
            assert tables.claims.listing(Page()).total == 1
            assert tables.claims.of_hash("new") == claim("a", secret_hash="new")
            assert tables.claims.of_hash(claim("a").secret_hash) is None

    def test_two_tokens_never_share_a_secret(self, store: Store) -> None:
        written(store, lambda tables: tables.claims.save(claim("a")))
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.claims.save(claim("b", secret_hash=claim("a").secret_hash)))

    def test_token_that_was_removed_is_gone(self, store: Store) -> None:
        written(store, lambda tables: tables.claims.save(claim("a")))
        undone(store, lambda tables: tables.claims.remove(TokenId("a")))
        with store.read() as tables:
            assert tables.claims.of_hash(claim("a").secret_hash) is not None
        assert written(store, lambda tables: tables.claims.remove(TokenId("a")))
        assert not written(store, lambda tables: tables.claims.remove(TokenId("a")))
        with store.read() as tables:
            assert tables.claims.of_hash(claim("a").secret_hash) is None
        written(store, lambda tables: tables.claims.save(claim("b", secret_hash=claim("a").secret_hash)))

    def test_listing_is_newest_first(self, store: Store) -> None:
        with store.write() as tables:
            for name, at_s in (("b", 1.0), ("a", 1.0), ("c", 2.0)):
                tables.claims.save(claim(name, created_at_s=at_s))
        with store.read() as tables:
            assert [each.id for each in tables.claims.listing(Page()).rows] == ["c", "a", "b"]
            second = tables.claims.listing(Page(limit=1, offset=1))
            assert ([each.id for each in second.rows], second.total) == (["a"], 3)


class TestJobs:
    def test_job_is_replaced_as_it_goes_on(self, store: Store) -> None:
        said = job("a", state=JobState.DONE, stage="end", share=1.0, detail="ok", report="{}", ended_at_s=NOW)
        with store.write() as tables:
            tables.jobs.save(job("a"))
            tables.jobs.save(said)
        with store.read() as tables:
            assert tables.jobs.get(said.id) == said
            assert tables.jobs.get(job("b").id) is None

    def test_listings(self, store: Store) -> None:
        with store.write() as tables:
            tables.jobs.save(job("d", created_at_s=1.0))
            tables.jobs.save(job("c", created_at_s=1.0, state=JobState.RUNNING))
            tables.jobs.save(job("b", created_at_s=2.0, model=WORDS, state=JobState.FAILED))
            tables.jobs.save(job("a", created_at_s=3.0))
        with store.read() as tables:
            assert [each.id for each in tables.jobs.listing(Page()).rows] == ["a", "b", "c", "d"]
            assert [each.id for each in tables.jobs.listing(Page(), WORDS).rows] == ["b"]
            third = tables.jobs.listing(Page(limit=1, offset=1), DIGITS)
            assert ([each.id for each in third.rows], third.total) == (["c"], 3)
            assert [each.id for each in tables.jobs.unfinished()] == ["c", "d", "a"]
