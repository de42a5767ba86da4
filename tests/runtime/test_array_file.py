"""Files of arrays: the same bytes each time, and nothing hostile gets in."""

import contextlib
import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pinnace_runtime import array_file
from pinnace_runtime.arrays import Array
from pinnace_runtime.errors import ArraysInvalid

DTYPES = [np.float32, np.float64, np.float16, np.int8, np.uint8, np.int64, np.bool_]


@given(
    st.dictionaries(
        st.text("abc:/_", min_size=1, max_size=5),
        st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3))),
        max_size=4,
    )
)
def test_arrays_come_back_as_they_were_written(arrays: dict[str, Array]) -> None:
    found = array_file.read(array_file.write(arrays), size_bytes_max=1 << 20)

    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_the_same_arrays_give_the_same_bytes_in_any_order() -> None:
    a, b = np.arange(4.0), np.arange(3)

    assert array_file.write({"a": a, "b": b}) == array_file.write({"b": b, "a": a})


def test_a_file_that_numpy_wrote_is_read_big_endian_and_by_columns() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, big=np.arange(6, dtype=">i4"), columns=np.asfortranarray(np.eye(3)[:2]))

    found = array_file.read(file.getvalue(), size_bytes_max=1 << 16)

    assert found["big"].tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(found["columns"], np.eye(3)[:2])


def _entry(name: str, content: bytes, times: int = 1) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(times):
            archive.writestr(name if times == 1 else f"{i}.npy", content)
    return file.getvalue()


def _npy(header: bytes, content: bytes = b"") -> bytes:
    padded = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + content


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a readable"),
        (b"PK\x03\x04 not really", "not a readable"),
        (_entry("a.txt", b"text"), "NAME.npy"),
        (_entry("a.npy", b"text"), "not a readable"),
        (_entry("a.npy", bytes(2 << 20)), "at most"),
        (_entry("", _npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': ()}", bytes(4)), 300), "at most 256"),
        (_entry("a.npy", _npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,)}")), "header says"),
        (_entry("a.npy", _npy(b"{'descr': '<U4', 'fortran_order': False, 'shape': (1,)}", bytes(16))), "plain numbers"),
        (_entry("a.npy", _npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps(1))), "numbers"),
        (_entry("a.npy", _npy(b"__import__('os').abort()")), "not a readable"),
    ],
    ids=[
        "an empty file",
        "a torn archive",
        "another kind of file inside",
        "no array inside",
        "a bomb",
        "too many arrays",
        "a header that promises more than there is",
        "text",
        "pickled objects",
        "code in the header",
    ],
)
def test_what_is_no_file_of_numbers_is_refused_with_a_reason(data: bytes, says: str) -> None:
    with pytest.raises(ArraysInvalid, match=says):
        array_file.read(data, size_bytes_max=1 << 20)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_a_damaged_file_is_an_error_of_ours_and_never_another(noise: bytes, at: int) -> None:
    whole = array_file.write({"input:x": np.zeros((2, 3), np.float32)})

    with contextlib.suppress(ArraysInvalid):
        array_file.read(whole[:at] + noise + whole[at + len(noise) :], size_bytes_max=1 << 16)
