"""The protocol document is generated from the types and covers every topic."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

from pinnace_contract import asyncapi, topics

DOCUMENT = Path(__file__).parents[2] / "docs" / "asyncapi.json"


def test_the_committed_document_is_the_generated_one() -> None:
    assert json.loads(DOCUMENT.read_text()) == json.loads(json.dumps(asyncapi.document(version("pinnace")))), (
        "run `make docs`"
    )


def test_every_channel_is_a_topic_and_every_topic_a_channel() -> None:
    sample = {"device": "a", "command": "c", "statement": "s", "wave": "w", "repository": "image", "role": "targets"}
    kinds = set()
    for channel in asyncapi.CHANNELS.values():
        text = re.sub(r"\{(\w+)\}", lambda part: sample.get(part[1], "1"), channel.address)
        kinds.add(type(topics.parse(text)))
    assert kinds == set(topics.Topic.__args__)
    addresses = {channel.address.rsplit("/", 1)[1] for channel in asyncapi.CHANNELS.values()}
    assert {str(channel) for channel in (*topics.Up, *topics.Down)} <= addresses


def test_references_resolve() -> None:
    document = asyncapi.document("1")
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        here = document
        for part in reference.split("/"):
            here = here[part]
