"""Files of named arrays (``.npz``), read with limits and written the same way every time.

Owns the format only: golden vectors and calibration data say themselves which names they hold. Reading never
unpickles and never allocates more than the bytes that are there; writing is uncompressed with fixed dates, so that the
same arrays give the same bytes under every zlib.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import numpy as np

from pinnace_contract.latest import Datatype
from pinnace_runtime.arrays import Array, datatype_of
from pinnace_runtime.errors import ArraysInvalid, shortened

ARRAYS_MAX: Final = 256
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the oldest that a zip entry can carry
_MODE: Final = 0o100644 << 16


def read(source: bytes | Path, *, size_bytes_max: int) -> dict[str, Array]:
    """Return every array by name.

    Raises:
        ArraysInvalid: not an ``.npz``, over the limit, or something in it that is no plain array of numbers.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            entries = archive.infolist()
            _check_entries(entries, size_bytes_max)
            return {_name(entry): _array(archive, entry) for entry in entries}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise ArraysInvalid(f"not a readable .npz file: {shortened(str(error))}") from error


def write(arrays: Mapping[str, Array]) -> bytes:
    """Return the bytes of an ``.npz`` with these arrays, sorted by name."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(arrays[name], order="C"), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_DATE)
            entry.external_attr = _MODE
            entry.create_system = 3  # Unix, whatever this is run on
            archive.writestr(entry, content.getvalue())
    return target.getvalue()


def _check_entries(entries: list[zipfile.ZipInfo], size_bytes_max: int) -> None:
    if len(entries) > ARRAYS_MAX:
        raise ArraysInvalid(f"expected at most {ARRAYS_MAX} arrays, found {len(entries)}")
    if len({entry.filename for entry in entries}) != len(entries):
        raise ArraysInvalid("two arrays have the same name")
    size_bytes = sum(entry.file_size for entry in entries)
    if size_bytes > size_bytes_max:
        raise ArraysInvalid(f"expected at most {size_bytes_max} bytes of arrays, found {size_bytes}")


def _name(entry: zipfile.ZipInfo) -> str:
    if not entry.filename.endswith(".npy"):
        raise ArraysInvalid(f"expected only NAME.npy inside, found {shortened(entry.filename)!r}")
    return entry.filename.removesuffix(".npy")


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as stream:
        shape, in_columns, dtype = _header(stream)
        what = f"array {shortened(_name(entry))!r}"
        if datatype_of(dtype.newbyteorder("=")) is Datatype.UNKNOWN:
            raise ArraysInvalid(f"{what}: expected plain numbers, found elements of type {dtype}")
        content = stream.read()  # bounded by the entry's own size, which was added up before
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ArraysInvalid(f"{what}: its header says {list(shape)} of {dtype}, which its {len(content)} bytes are not")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if in_columns else "C")
    return np.asarray(array, dtype.newbyteorder("="), order="C")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ArraysInvalid(f"expected .npy format 1.0 or 2.0, found {version[0]}.{version[1]}")
