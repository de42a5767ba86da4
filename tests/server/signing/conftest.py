"""A signer of this test's own, at a fixed time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace_server.signing.local import LocalSigning
from tests.server.signing.world import HandClock, open_signing


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def signing(tmp_path: Path, clock: HandClock) -> Iterator[LocalSigning]:
    opened = open_signing(tmp_path, clock)
    yield opened
    opened.close()
