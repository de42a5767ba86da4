"""What people write as a policy: read once, and refused in words."""

from __future__ import annotations

import pytest

from pinnace_server import policy_text
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.errors import Refused


@pytest.mark.parametrize(
    "text", ["cohort: site=lyon\nwaves: [1, rest]", '{"cohort": "site=lyon", "waves": [1, "rest"]}']
)
def test_yaml_and_json_are_the_same_policy(text: str) -> None:
    assert policy_text.parse(text) == policy_text.parse(text.encode()) == {"cohort": "site=lyon", "waves": [1, "rest"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("waves: [1,", "expected YAML or JSON, found: while parsing a flow"),
        ("- 1", "expected a policy with keys as 'cohort' and 'waves', found list"),
        ("", "found nothing"),
        ("cohort: site=lyon\nwaves: [1, rest]\ncohort: ''", "expected each key once, found 'cohort' again in line 3"),
        ('{"cohort": "site=lyon", "gates": {"soak_s": 60, "soak_s": 0}}', "found 'soak_s' again in line 1"),
        ("cohort: !!python/object/apply:os.system [ls]", "expected YAML or JSON"),
        ("a: &a [x]\nb: *a", "expected no aliases in a policy, found *a in line 2"),
        ("[" * 20_000, "expected lists and mappings 32 deep at most, found more in line 1"),
        ("when: 2026-13-45", "expected YAML or JSON"),
        (b"\xff\xfe\xfa", "expected YAML or JSON"),
        ("x" * (policy_text.BYTES_MAX + 1), "expected a policy of at most 1048576 bytes, found 1048577"),
    ],
    ids=[
        "cut off",
        "a list",
        "nothing",
        "a key twice",
        "a key twice in a part",
        "python",
        "an alias",
        "brackets without end",
        "no such day",
        "not text",
        "too large",
    ],
)
def test_what_is_no_policy_is_refused_in_words(text: str | bytes, said: str) -> None:
    with pytest.raises(Refused) as refused:
        policy_text.parse(text)
    assert said in str(refused.value)


def test_a_policy_written_out_is_read_again_as_itself() -> None:
    policy = reading.read({"cohort": "site=lyon, has camera", "approvals": [{"before": "last"}]})
    assert reading.read(policy_text.parse(policy_text.written(reading.plain(policy)))) == policy
