"""Topics are built and parsed in one place, both ways."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract import topics
from pinnace_contract.errors import BadTopic
from pinnace_contract.ids import CommandId, DeviceId, StatementId, WaveId

DEVICE = DeviceId("camera-07")

TOPICS = [
    *(topics.UpTopic(device=DEVICE, channel=channel) for channel in topics.Up),
    *(topics.DownTopic(device=DEVICE, channel=channel) for channel in topics.Down),
    topics.CommandTopic(device=DEVICE, command=CommandId("c.1")),
    topics.ResultTopic(device=DEVICE, command=CommandId("c.1")),
    topics.BroadcastTopic(wave=WaveId("r-1.w-2"), segment=0, chunk=255),
    topics.StatementTopic(statement=StatementId("w-1")),
    *(topics.RootTopic(repository=repository, version=3) for repository in topics.Repository),
    topics.TimestampTopic(),
    topics.MetadataTopic(role="targets", version=12),
]


@pytest.mark.parametrize("topic", TOPICS, ids=str)
def test_topic_comes_back_from_its_text(topic: topics.Topic) -> None:
    assert topics.parse(str(topic)) == topic


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pinnace/v1",
        "pinnace/v2/up/a/state",
        "pinnace/v1/up/A/state",
        "pinnace/v1/up/+/state",
        "pinnace/v1/up/a/desired",
        "pinnace/v1/down/a/state",
        "pinnace/v1/down/a/cmd/",
        "pinnace/v1/blob/w/01/2",
        "pinnace/v1/meta/image/targets",
        "pinnace/v1/meta/image/../x.1",
        "pinnace/v1/up/a/state/extra",
        "pinnace/v1/" + "x" * 300,
    ],
)
def test_other_topics_are_refused(text: str) -> None:
    with pytest.raises(BadTopic):
        topics.parse(text)


@pytest.mark.parametrize("device", ["", "A", "a/b", "+", "#", "-a", "a-", "a" * 64, "a\n"])
def test_no_topic_is_built_from_a_bad_id(device: str) -> None:
    with pytest.raises(BadTopic):
        str(topics.UpTopic(device=DeviceId(device), channel=topics.Up.STATE))


@given(st.text(max_size=80))
def test_any_text_is_a_topic_or_a_typed_error(text: str) -> None:
    for candidate in (text, f"{topics.PREFIX}/{text}"):
        with contextlib.suppress(BadTopic):
            assert str(topics.parse(candidate)) == candidate


def test_no_other_source_file_spells_a_topic() -> None:
    from tests.contract.make_golden import GOLDEN

    root = GOLDEN.parents[3]
    sources = [
        path for folder in ("agent", "converters", "server", "firmware-sim") for path in (root / folder).rglob("*.py")
    ]
    assert len(sources) > 20
    spelled = [path for path in sources if f'"{topics.PREFIX}' in path.read_text() and path.name != "topics.py"]
    assert spelled == []
