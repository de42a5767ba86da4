"""What the demo's tests need besides the server: its data set comes with scikit-learn."""

import pytest

from tests.needs import need_module


@pytest.fixture(scope="session", autouse=True)
def _data_set() -> None:
    need_module("sklearn")
