"""Which devices a text means, and what the reader is told when it means none."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pinnace_contract.ids import DeviceId
from pinnace_server.domain import selector
from pinnace_server.domain.selector import Asked, Selector, Term
from pinnace_server.errors import Code, Refused

LYON = DeviceId("camera-1"), {"site": "lyon", "class": "a", "camera": "yes", "tags": "line-2, wet", "note": "a, b"}
PARIS = DeviceId("camera-2"), {"site": "paris", "class": "b", "hw.class": "jetson", "tags": "line-20"}


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
        ("site=paris, hw.class in (pi4, jetson), tags has line-20", [PARIS]),
        ("site!=lyon", [PARIS]),
        ("site != lyon", [PARIS]),
        ("camera!=yes", [PARIS]),
        ("has camera, camera!=yes", []),
        ("nowhere!=1", [LYON, PARIS]),
        ("site not in (lyon, nice)", [PARIS]),
        ("device not in (camera-1)", [PARIS]),
        ("device!=camera-1", [PARIS]),
        ("lacks camera", [PARIS]),
        ("lacks nowhere", [LYON, PARIS]),
        ("has device", [LYON, PARIS]),
        ("lacks device", []),
        ("tags has line-2", [LYON]),
        ("tags has wet", [LYON]),
        ("tags has line", []),
        ("tags lacks line-2", [PARIS]),
        ("class lacks a", [PARIS]),
        ("nowhere lacks a", [LYON, PARIS]),
        ('note="a, b"', [LYON]),
        ('note in ("a, b", c)', [LYON]),
        ('note!="a, b"', [PARIS]),
        ('site="lyon"', [LYON]),
    ],
)
def test_selector_means(text: str, meant: list[tuple[DeviceId, dict[str, str]]]) -> None:
    parsed = selector.parse(text)
    assert [device for device in (LYON, PARIS) if parsed.matches(*device)] == meant


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("  site=lyon ,class  in(a,b)", "site=lyon, class in (a, b)"),
        ("site in (lyon)", "site=lyon"),
        ("site not  in( lyon )", "site!=lyon"),
        ("site not in(a,b)", "site not in (a, b)"),
        ('site="lyon"', "site=lyon"),
        ('note = "a, b"', 'note="a, b"'),
        (r'note="say \"a\\b\""', r'note="say \"a\\b\""'),
        ('note="ÿ"', 'note="ÿ"'),
        ('tags has"line-2"', "tags has line-2"),
        ("lacks   x", "lacks x"),
    ],
)
def test_selector_has_one_spelling(text: str, spelled: str) -> None:
    assert str(selector.parse(text)) == spelled


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("has = 1", "has=1"),
        ("has in (a)", "has=a"),
        ("has in", "has in"),
        ("has has", "has has"),
        ("has lacks", "has lacks"),
        ("lacks has", "lacks has"),
        ("lacks lacks", "lacks lacks"),
        ("has has x", "has has x"),
        ("has lacks x", "has lacks x"),
        ("lacks has x", "lacks has x"),
        ("has not in (a, b)", "has not in (a, b)"),
        ("in in (a, b)", "in in (a, b)"),
        ("not in (a, b)", "not in (a, b)"),
        ("not not in (a, b)", "not not in (a, b)"),
        ("not=x, has not", "not=x, has not"),
        ("not has x", "not has x"),
    ],
)
def test_words_of_the_grammar_are_keys_as_well(text: str, spelled: str) -> None:
    assert str(selector.parse(text)) == spelled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("=lyon", "expected a condition at character 1, found '=lyon'"),
        ("site=", "expected a value for site .* at character 6, found the end"),
        ("site=,", "expected a value for site .* at character 6, found ','"),
        ("site=lyon,", "after the last comma"),
        ("site=lyon class=a", "expected a comma or the end at character 11, found 'class=a'"),
        ("site=lyon, !camera", "expected a condition at character 12, found '!camera'"),
        ("site in ()", r"expected values for site .* at character 10, found '\)'"),
        ("site in (a b)", r"expected a comma or `\)` at character 12, found 'b\)'"),
        ("site in (a", r"expected a comma or `\)` at character 11, found the end"),
        ("site in lyon", r"expected `\(` at character 9, found 'lyon'"),
        ("site not lyon", "expected `in` after `site not` at character 10, found 'lyon'"),
        ("site == lyon", "expected a value for site .* at character 7, found '= lyon'"),
        ("site like l", "expected `=`.* after 'site' at character 6, found 'like l'"),
        ("site", "expected `=`.* after 'site' at character 5, found the end"),
        ("has", "expected `=`.* after 'has' at character 4, found the end"),
        ('site="lyon', "expected a value for site .* at character 6"),
        (r'site="l\yon"', "expected a value for site .* at character 6"),
        ('site=""', "1 to 128 printable characters"),
        ('site=" lyon"', "without a space at either end"),
        ('site="l\tyon"', "printable"),
        (f"site={'x' * 129}", "1 to 128 printable characters .* of 129"),
        (f"{'x' * 64}=1", "a key has at most 63 characters, .* has 64"),
        (f"has {'x' * 64}", "a key has at most 63 characters"),
        ('tags has "a b"', "one item of tags without commas or spaces"),
        ("tags has (a, b)", r"expected an item of tags .* at character 10, found '\(a, b\)'"),
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


KEYS = st.sampled_from(["site", "device", "has", "lacks", "in", "not", "hw.class"])
BARE = st.from_regex(re.compile(selector.VALUE_PATTERN), fullmatch=True)
VALUES = st.one_of(BARE, st.text(min_size=1, max_size=8).filter(selector.is_value))
ITEMS = VALUES.filter(lambda value: selector.listed(value) == (value,))
NEGATED = st.booleans()
TERMS = st.one_of(
    st.builds(Term, key=KEYS, asked=st.just(Asked.PRESENT), negated=NEGATED),
    st.builds(Term, key=KEYS, asked=st.just(Asked.LISTS), values=st.tuples(ITEMS), negated=NEGATED),
    st.builds(
        Term,
        key=KEYS,
        asked=st.just(Asked.ONE_OF),
        values=st.lists(VALUES, min_size=1, max_size=4).map(tuple),
        negated=NEGATED,
    ),
)
SELECTORS = st.lists(TERMS, max_size=5).map(lambda terms: Selector(terms=tuple(terms)))
LABELS = st.dictionaries(KEYS, VALUES, max_size=4)


@given(SELECTORS)
def test_every_selector_is_read_back_from_its_spelling(one: Selector) -> None:
    assume(len(str(one)) <= selector.SELECTOR_CHARS_MAX)
    assert selector.parse(str(one)) == one
    assert str(selector.parse(str(one))) == str(one)


@given(TERMS, LABELS)
def test_negated_term_means_exactly_the_others(term: Term, labels: dict[str, str]) -> None:
    other = Term(key=term.key, asked=term.asked, values=term.values, negated=not term.negated)
    device = DeviceId("camera-1")
    assert Selector(terms=(term,)).matches(device, labels) is not Selector(terms=(other,)).matches(device, labels)


def test_spelling_stays_within_the_limit_of_what_can_be_read() -> None:
    wide = "site in(" + ",".join(f"plant-{n:010}" for n in range(240)) + ")"
    assert len(wide) < selector.SELECTOR_CHARS_MAX < len(wide) + 239
    parsed = selector.parse(wide)
    assert str(parsed) == wide
    assert selector.parse(str(parsed)) == parsed


# The grammar as it was before conditions could be negated: what it read must mean the same for ever.
FIRST = re.compile(
    rf"\s*(?:has\s+(?P<has>{selector.KEY_PATTERN})"
    rf"|(?P<key>{selector.KEY_PATTERN})\s*=\s*(?P<value>{selector.VALUE_PATTERN})"
    rf"|(?P<of>{selector.KEY_PATTERN})\s+in\s*\((?P<values>[^()]*)\))\s*(?:,|$)"
)


def first_meaning(text: str) -> list[tuple[str, tuple[str, ...]]] | None:
    terms: list[tuple[str, tuple[str, ...]]] = []
    at = 0
    while text[at:].strip():
        found = FIRST.match(text, at)
        if found is None:
            return None
        at = found.end()
        values = [part.strip() for part in (found["values"] or "").split(",")] if found["of"] else []
        if not all(re.fullmatch(selector.VALUE_PATTERN, value) for value in values):
            return None
        if found["has"]:
            terms.append((found["has"], ()))
        elif found["key"]:
            terms.append((found["key"], (found["value"],)))
        else:
            terms.append((found["of"], tuple(values)))
    return None if text.rstrip().endswith(",") else terms


OLD_KEYS = st.sampled_from(["site", "device", "has", "lacks", "in", "not", "hw.class", "a-b", "x" * 63])
OLD_VALUES = st.sampled_from(["lyon", "9", "has", "in", "a.b:c/d@e-f", "x" * 128])
GAPS = st.sampled_from(["", " ", "\n ", "\u00a0"])
SPACES = st.sampled_from([" ", "  ", "\t", "\u2003"])
OLD_TERMS = st.one_of(
    st.builds(lambda a, s, key, b: f"{a}has{s}{key}{b}", GAPS, SPACES, OLD_KEYS, GAPS),
    st.builds(
        lambda a, key, b, c, value, d: f"{a}{key}{b}={c}{value}{d}", GAPS, OLD_KEYS, GAPS, GAPS, OLD_VALUES, GAPS
    ),
    st.builds(
        lambda a, key, s, b, values, c: f"{a}{key}{s}in{b}({','.join(values)}){c}",
        GAPS,
        OLD_KEYS,
        SPACES,
        GAPS,
        st.lists(st.builds(lambda a, value, b: f"{a}{value}{b}", GAPS, OLD_VALUES, GAPS), min_size=1, max_size=3),
        GAPS,
    ),
)


@given(st.lists(OLD_TERMS, max_size=4).map(",".join))
def test_what_the_first_grammar_read_means_the_same(text: str) -> None:
    now = selector.parse(text)
    assert [(term.key, term.values) for term in now.terms] == first_meaning(text)
    assert not any(term.negated or term.asked is Asked.LISTS for term in now.terms)


PIECES = st.sampled_from(
    ["has", "lacks", "in", "not", "site", "9", "=", "!=", "(", ")", ",", " ", " ", "\n", "in(", '"']
)


@given(st.lists(PIECES, max_size=14).map("".join))
def test_any_words_of_the_grammar_mean_what_they_did_or_nothing_before(text: str) -> None:
    before = first_meaning(text)
    try:
        now = selector.parse(text)
    except Refused:
        assert before is None
        return
    assert selector.parse(str(now)) == now
    if before is not None:
        assert [(term.key, term.values) for term in now.terms] == before
