"""Answers over the model's socket, asked with the client that applications use."""

from __future__ import annotations

import numpy as np
import pytest

from pinnace_agent.client import Client, Unavailable
from tests.agent.worker.building import MODEL, Hosted, OnDisk, expected, rows


def test_answer_names_the_release_and_variant_that_gave_it(host: Hosted, release: OnDisk) -> None:
    host.serving(release)
    with Client(host.run_dir) as client:
        answer = client.infer(MODEL, {"x": rows(3)})
    np.testing.assert_allclose(answer.outputs["y"], expected(rows(3)), rtol=1e-5)
    assert answer.release == release.id
    assert answer.variant == release.start.variant
    assert answer.version == "1"


def test_without_a_worker_the_agent_says_why(host: Hosted, release: OnDisk) -> None:
    host.host.open(MODEL, "the first release is on its way", 7)
    with Client(host.run_dir) as client, pytest.raises(Unavailable, match="the first release is on its way") as found:
        client.infer(MODEL, {"x": np.zeros((1000, 4), np.float32)})
    assert found.value.retry_after_s == 7


def test_shared_memory_gives_the_same_answers(host: Hosted, release: OnDisk) -> None:
    host.serving(release)
    with Client(host.run_dir) as sent, Client(host.run_dir, shared_memory=True) as shared:
        for n in (1, 5000, 2, 1):
            by_http, by_memory = sent.infer(MODEL, {"x": rows(n)}), shared.infer(MODEL, {"x": rows(n)})
            np.testing.assert_array_equal(by_http.outputs["y"], by_memory.outputs["y"])
            assert by_memory.variant == release.start.variant
