"""What the demo's tests need besides the server: scikit-learn's data set, and training that does not spin."""

from collections.abc import Iterator

import pytest

from tests.needs import need_module


@pytest.fixture(scope="session", autouse=True)
def _one_core() -> Iterator[None]:
    """See ``making``: two of numpy's threads on a busy machine are slower than one."""
    need_module("sklearn")
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
