"""The address of a list and its query are two forms of one thing."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_server.console import times
from pinnace_server.console.query import PAGE_MAX, DeviceQuery, EventQuery
from pinnace_server.domain.records import Status
from tests.server.console.fleet import NOW

_text = st.text(st.characters(codec="utf-8"), max_size=30).map(str.strip)


@given(
    st.builds(
        DeviceQuery,
        page=st.integers(1, PAGE_MAX),
        size=st.sampled_from([25, 50, 100]),
        q=_text,
        status=st.none() | st.sampled_from(Status),
        model=_text,
        version=_text,
        label=_text,
        sort=st.sampled_from(["name", "-name", "p95", "-seen"]),
    )
)
def test_address_and_query_say_the_same(query: DeviceQuery) -> None:
    assert DeviceQuery.parse(dict(parse_qsl(query.address()[1:]))) == query


@pytest.mark.parametrize(
    "given_",
    [
        {"page": "0"},
        {"page": "-1"},
        {"page": "x"},
        {"page": "٣"},
        {"page": "1" * 400},
        {"size": "1000000"},
        {"status": "burning"},
        {"sort": "secret"},
        {"sort": "--name"},
    ],
)
def test_senseless_parameters_count_as_not_said(given_: dict[str, str]) -> None:
    assert DeviceQuery.parse(given_) == DeviceQuery()


def test_changed_filter_starts_again_at_the_first_page() -> None:
    query = DeviceQuery(page=7, q="press")
    assert query.to(status=Status.OFFLINE.value) == "?q=press&status=offline"
    assert query.to(page=8) == "?page=8&q=press"


def test_column_sorts_up_then_down() -> None:
    query = DeviceQuery(page=3)
    assert query.sorted_by("p95") == "?sort=p95"
    assert DeviceQuery(sort="p95").sorted_by("p95") == "?sort=-p95"
    assert DeviceQuery(sort="-p95").sorted_by("p95") == "?sort=p95"
    assert DeviceQuery().sorted_by("name") == "?sort=-name"


def test_log_keeps_its_filters() -> None:
    query = EventQuery.parse({"kind": "assigned", "device": "dev-1", "page": "2"})
    assert query.filtered
    assert query.to(page=3) == "?page=3&kind=assigned&device=dev-1"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "now"), (-3, "now"), (5, "5 s ago"), (59, "59 s ago"), (60, "1 min ago"), (3599, "59 min ago"),
     (3600, "1 h ago"), (86_400, "1 d ago"), (-7200, "in 2 h")],
)  # fmt: skip
def test_times_are_said_in_words(seconds: int, said: str) -> None:
    assert times.ago(NOW - timedelta(seconds=seconds), NOW) == said
