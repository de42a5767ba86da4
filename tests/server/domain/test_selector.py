"""Which devices a text means, and what the reader is told when it means none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.ids import DeviceId
from pinnace_server.domain import selector
from pinnace_server.errors import Code, Refused

LYON = DeviceId("camera-1"), {"site": "lyon", "class": "a", "camera": "yes"}
PARIS = DeviceId("camera-2"), {"site": "paris", "class": "b"}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", [LYON, PARIS]),
        ("  ", [LYON, PARIS]),
        ("site=lyon", [LYON]),
        ("site = lyon", [LYON]),
        ("site=lyon, class=b", []),
        ("site in (lyon, paris)", [LYON, PARIS]),
        ("site in (lyon), class=a", [LYON]),
        ("has camera", [LYON]),
        ("has site, has class", [LYON, PARIS]),
        ("device=camera-2", [PARIS]),
        ("device in (camera-1, camera-2), site=paris", [PARIS]),
        ("nowhere=1", []),
    ],
)
def test_selector_means(text: str, meant: list[tuple[DeviceId, dict[str, str]]]) -> None:
    parsed = selector.parse(text)
    assert [device for device in (LYON, PARIS) if parsed.matches(*device)] == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("=lyon", "character 1"),
        ("site=", "character 1"),
        ("site=lyon,", "after the last comma"),
        ("site=lyon class=a", "character 1"),
        ("site=lyon, !", "character 11"),
        ("site in ()", "expected values"),
        ("site in (a b)", "expected values"),
        ("site in lyon", "character 1"),
        ("has", "character 1"),
        ("x" * 5000, "at most 4096"),
        (", ".join(f"k{n}=v" for n in range(40)), "at most 32 conditions"),
        (f"k in ({', '.join(str(n) for n in range(300))})", "at most 256 values"),
    ],
)
def test_text_that_makes_no_sense_is_refused_where_it_stops_making_sense(text: str, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        selector.parse(text)
    assert refused.value.code is Code.BAD_SELECTOR
    assert refused.value.hint


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = selector.parse(text)
    except Refused:
        return
    assert selector.parse(str(parsed)) == parsed
