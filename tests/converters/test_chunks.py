"""Cutting content into the pieces of a blob."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.ids import digest_of
from pinnace_contract.latest import CHUNK_BYTES_MAX
from pinnace_converters import chunks


@given(st.integers(0, 3 * CHUNK_BYTES_MAX + 1), st.binary(min_size=1, max_size=3))
def test_pieces_put_together_are_the_content(size: int, pattern: bytes) -> None:
    content = (pattern * size)[:size]

    blob = chunks.cut(content)

    assert (blob.digest, blob.size_bytes) == (digest_of(content), size)
    at = 0
    for chunk in blob.chunks:
        assert chunk.digest == digest_of(content[at : at + chunk.size_bytes])
        at += chunk.size_bytes
    assert at == size


def test_a_file_is_cut_as_its_bytes_are(tmp_path: Path) -> None:
    content = bytes(range(256)) * 600
    (tmp_path / "f").write_bytes(content)

    assert chunks.cut(tmp_path / "f") == chunks.cut(content)


def test_more_than_a_release_can_list_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(chunks.BLOB_BYTES_MAX + 1)  # a hole, which takes no room

    with pytest.raises(ValueError, match="may have"):
        chunks.cut(tmp_path / "f")
