"""What the parent asks of a child process, and what the child answers: plain data, read strictly on both sides.

A child holds a hostile file, so its answer is hostile too: it is parsed with the contract's codec and its limits.
Files travel beside it in the child's private folder, under the names at the top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from pinnace_contract.fields import count, limited
from pinnace_contract.latest import Binding, IoContract, PassRecord, Precision, Processing, Runtime
from pinnace_converters.declaration import Declaration
from pinnace_converters.errors import ConversionCode

JOB: Final = "job.json"
RESULT: Final = "result.json"
FAILURE: Final = "failure.json"
SOURCE: Final = "source.model"
VARIANT: Final = "variant.model"
CALIBRATION: Final = "calibration.npz"
HELDOUT: Final = "heldout.npz"
ANSWERS: Final = "answers.npz"
ASSET: Final = "asset-"  # followed by its place in the job's list of assets

_MESSAGE_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What a model file is made of; ``quantized`` counts operators that compute on quantized weights."""

    nodes: int = count()
    quantized: int = count(0)
    weights_float32_bytes: int = count(0)
    weights_float16_bytes: int = count(0)
    weights_int8_bytes: int = count(0)
    weights_other_bytes: int = count(0)
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Latency of the runtime for one row, in milliseconds."""

    runs: int = count()
    p50_ms: float = count()
    p95_ms: float = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Check a source file, run it on held-out data, work out the I/O contract. Answers are left in ``ANSWERS``."""

    KIND: ClassVar[str] = "inspect"
    BYTES_MAX: ClassVar[int] = _MESSAGE_BYTES_MAX

    runtime: Runtime
    declaration: Declaration
    assets: tuple[str, ...] = limited((), largest=64, chars=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What ``Inspect`` found."""

    KIND: ClassVar[str] = "inspected"
    BYTES_MAX: ClassVar[int] = _MESSAGE_BYTES_MAX

    contract: IoContract
    census: Census
    inputs: tuple[Binding, ...] = limited(largest=64)
    outputs: tuple[Binding, ...] = limited(largest=64)
    notes: tuple[str, ...] = limited((), largest=16, chars=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Make one variant of an ONNX source; it is left in ``VARIANT``."""

    KIND: ClassVar[str] = "build"
    BYTES_MAX: ClassVar[int] = _MESSAGE_BYTES_MAX

    precision: Precision
    keep_precision: bool = False  # the source has it already
    contract: IoContract
    processing: Processing
    assets: tuple[str, ...] = limited((), largest=64, chars=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """How a variant was made and what it is."""

    KIND: ClassVar[str] = "built"
    BYTES_MAX: ClassVar[int] = _MESSAGE_BYTES_MAX

    records: tuple[PassRecord, ...] = limited(largest=32)
    census: Census


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Run a variant on held-out data and time it beside its source. Answers are left in ``ANSWERS``."""

    KIND: ClassVar[str] = "measure"
    BYTES_MAX: ClassVar[int] = _MESSAGE_BYTES_MAX

    runtime: Runtime
    source_runtime: Runtime
    source_inputs: tuple[Binding, ...] = limited(largest=64)
    source_outputs: tuple[Binding, ...] = limited(largest=64)
    contract: IoContract
    processing: Processing
    assets: tuple[str, ...] = limited((), largest=64, chars=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What ``Measure`` found."""

    KIND: ClassVar[str] = "measured"
    BYTES_MAX: ClassVar[int] = _MESSAGE_BYTES_MAX

    inputs: tuple[Binding, ...] = limited(largest=64)
    outputs: tuple[Binding, ...] = limited(largest=64)
    runtime_version: str = limited(chars=64)
    peak_memory_bytes: int = count()
    timing: Timing
    source_timing: Timing
    speedup: float = count()
    census: Census | None = None  # of a TFLite file; an ONNX variant was counted where it was built


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a child gave up by itself."""

    KIND: ClassVar[str] = "failure"
    BYTES_MAX: ClassVar[int] = 64 * 1024

    code: str = limited(chars=64)
    text: str = limited(chars=4096)
    pass_name: str = limited("", chars=128)
    done: tuple[str, ...] = limited((), largest=32, chars=128)

    @property
    def known(self) -> ConversionCode:
        """The code, or the most general one for a code that this program does not know."""
        return ConversionCode._value2member_map_.get(self.code, ConversionCode.PASS_FAILED)  # type: ignore[return-value]


Job = Inspect | Build | Measure
Answer = Inspected | Built | Measured
