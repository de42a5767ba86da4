"""What a release says: which files, how to feed them, what they must answer, and what they were measured against.

A release is a file; its id is the SHA-256 of its bytes. It refers to everything large (weights, golden vectors,
baseline, assets) by digest, with the list of chunks each blob travels in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pinnace_contract.fields import count, limited
from pinnace_contract.ids import Digest, ModelName, VersionName
from pinnace_contract.v1.enums import (
    AssetKind,
    Datatype,
    FeatureKind,
    Precision,
    ResizeMethod,
    Runtime,
)

CHUNK_BYTES_MAX = 64 * 1024  # one MQTT payload with its header, well under every broker's default limit
RELEASE_BYTES_MAX = 256 * 1024  # itself fetched as one blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One piece of a blob; its place is the sum of the sizes before it."""

    digest: Digest
    size_bytes: int = limited(smallest=1, largest=CHUNK_BYTES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Immutable content and the chunks that make it up, in order."""

    digest: Digest
    size_bytes: int = count()
    chunks: tuple[Chunk, ...] = limited(largest=4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One tensor as applications see it. ``-1`` in the shape is any size; the first axis is the batch."""

    name: str = limited(chars=256)
    datatype: Datatype
    shape: tuple[int, ...] = limited(largest=8, smallest=0)
    layout: str = limited("", chars=16)
    unit: str = limited("", chars=64)
    classes: tuple[str, ...] = limited((), largest=2048, chars=128)


@dataclass(frozen=True, slots=True, kw_only=True)
class IoContract:
    """What applications send and get back, outside pre- and post-processing. They declare the digests they accept."""

    inputs: tuple[TensorSpec, ...] = limited(largest=64, smallest=1)
    outputs: tuple[TensorSpec, ...] = limited(largest=64, smallest=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Change the element type; values outside the new type's range are clipped to it."""

    OP: ClassVar[str] = "cast"
    tensor: str = limited(chars=256)
    datatype: Datatype


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """``x * factor + offset`` in float32."""

    OP: ClassVar[str] = "scale"
    tensor: str = limited(chars=256)
    factor: float
    offset: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalize:
    """``(x - mean[c]) / std[c]`` along ``axis``, in float32."""

    OP: ClassVar[str] = "normalize"
    tensor: str = limited(chars=256)
    axis: int = limited(smallest=-8, largest=7)
    mean: tuple[float, ...] = limited(largest=4096, smallest=1)
    std: tuple[float, ...] = limited(largest=4096, smallest=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Limit values to ``low..high``."""

    OP: ClassVar[str] = "clip"
    tensor: str = limited(chars=256)
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose:
    """Permute the axes."""

    OP: ClassVar[str] = "transpose"
    tensor: str = limited(chars=256)
    axes: tuple[int, ...] = limited(largest=8, smallest=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape:
    """Change the shape, keeping the order of elements; one ``-1`` is worked out."""

    OP: ClassVar[str] = "reshape"
    tensor: str = limited(chars=256)
    shape: tuple[int, ...] = limited(largest=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Resize the two image axes that ``layout`` names (``NHWC`` or ``NCHW``), pixel centres at half."""

    OP: ClassVar[str] = "resize"
    tensor: str = limited(chars=256)
    layout: str = limited(chars=8)
    height: int = limited(smallest=1, largest=8192)
    width: int = limited(smallest=1, largest=8192)
    method: ResizeMethod = ResizeMethod.BILINEAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """Exponentials that sum to one along ``axis``."""

    OP: ClassVar[str] = "softmax"
    tensor: str = limited(chars=256)
    axis: int = limited(-1, smallest=-8, largest=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgMax:
    """The index of the largest value along ``axis``, as int64."""

    OP: ClassVar[str] = "argmax"
    tensor: str = limited(chars=256)
    axis: int = limited(-1, smallest=-8, largest=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Run an ONNX graph that the release carries as an asset, on the tensors that it names."""

    OP: ClassVar[str] = "graph"
    asset: str = limited(chars=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownStep:
    """A step that this program does not know. A runtime refuses it: leaving one out gives silently wrong answers."""

    OP: ClassVar[str] = ""
    op: str = limited(chars=64)


Step = Cast | Scale | Normalize | Clip | Transpose | Reshape | Resize | Softmax | ArgMax | Graph | UnknownStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Processing:
    """Steps before and after the model, for every variant alike."""

    before: tuple[Step, ...] = limited((), largest=32)
    after: tuple[Step, ...] = limited((), largest=32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Which tensor of a variant's file carries a tensor of the processed contract, and how its axes are permuted."""

    name: str = limited(chars=256)
    tensor: str = limited(chars=256)
    permutation: tuple[int, ...] = limited((), largest=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRecord:
    """One step of a variant's making: what ran, with which parameters, on and to which bytes."""

    name: str = limited(chars=128)
    tool: str = limited("", chars=256)
    parameters: str = limited("", chars=2048)
    input: Digest
    output: Digest
    notes: tuple[str, ...] = limited((), largest=16, chars=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """A variant's answers beside the source model's, on data it was not calibrated with. ``None``: not measured."""

    samples: int = count()
    max_abs: float | None = None
    rmse: float | None = None
    snr_db: float | None = None
    cosine: float | None = None
    agreement: float | None = limited(None, smallest=0, largest=1)
    agreement_with_margin: float | None = limited(None, smallest=0, largest=1)
    accuracy: float | None = limited(None, smallest=0, largest=1)
    held_out: bool = False
    forced: str = limited("", chars=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One build of a version. Its digest is its name; the rest says how to run it and how it was made."""

    blob: Blob
    runtime: Runtime
    precision: Precision
    peak_memory_bytes: int = count()
    runtime_version: str = limited("", chars=64)
    inputs: tuple[Binding, ...] = limited((), largest=64)
    outputs: tuple[Binding, ...] = limited((), largest=64)
    parity: Parity | None = None
    provenance: tuple[PassRecord, ...] = limited((), largest=32)

    @property
    def digest(self) -> Digest:
        """The digest of the variant's file."""
        return self.blob.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file that belongs to a release besides its weights."""

    name: str = limited(chars=256)
    kind: AssetKind
    blob: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a variant may answer from the reference on golden vectors; a number that is ``None`` does not count.

    ``agreement_min`` is the share of vectors with the reference's largest output, where the reference's own margin is
    above 0.1 of its range.
    """

    runtime: Runtime
    precision: Precision
    max_abs: float | None = limited(None, smallest=0)
    snr_db_min: float | None = None
    agreement_min: float | None = limited(None, smallest=0, largest=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Recorded raw inputs and expected final outputs (an ``.npz``: ``input:NAME`` and ``output:NAME`` arrays)."""

    blob: Blob
    vectors: int = limited(smallest=1, largest=1024)
    tolerances: tuple[Tolerance, ...] = limited(largest=16, smallest=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class P95:
    """The 95th percentile of inference latency that a class of hardware is expected to reach."""

    hardware: str = limited(chars=64)
    p95_ms: float = limited(smallest=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """Absolute limits, used where there is nothing to compare with. ``hardware: "*"`` is every class not named."""

    error_rate_max: float = limited(0.02, smallest=0, largest=1)
    p95: tuple[P95, ...] = limited((), largest=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a device must have; empty means any."""

    hardware: tuple[str, ...] = limited((), largest=64, chars=64)
    agent_version: str = limited("", chars=32)
    memory_bytes: int = count(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A signed, deployable statement. Sent as JSON; the bytes that were signed are kept and forwarded untouched."""

    KIND: ClassVar[str] = "release"
    BYTES_MAX: ClassVar[int] = RELEASE_BYTES_MAX

    model: ModelName
    version: VersionName
    sequence: int = limited(smallest=1)
    epoch: int = count(0)
    created_at_s: int = count()
    contract: IoContract
    processing: Processing = Processing()
    variants: tuple[Variant, ...] = limited(largest=32, smallest=1)
    assets: tuple[Asset, ...] = limited((), largest=64)
    golden: Golden
    baseline: Blob | None = None
    expectations: Expectations = Expectations()
    requirements: Requirements = Requirements()

    def variant(self, digest: Digest) -> Variant | None:
        """Return the variant with this digest, or None."""
        return next((variant for variant in self.variants if variant.digest == digest), None)

    def blobs(self, variant: Variant) -> tuple[Blob, ...]:
        """Return every blob that a device needs to run ``variant``, each once, the small ones first."""
        wanted = [self.golden.blob, *([self.baseline] if self.baseline else []), *(asset.blob for asset in self.assets)]
        return tuple({blob.digest: blob for blob in [*wanted, variant.blob]}.values())


CONFIDENCE_BINS = 16
FEATURES_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureBaseline:
    """One feature's distribution in the calibration data: bin edges (ascending, n edges make n + 1 bins) and shares."""

    name: str = limited(chars=128)
    kind: FeatureKind
    tensor: str = limited(chars=256)
    index: int = count(0)
    edges: tuple[float, ...] = limited(largest=63)
    shares: tuple[float, ...] = limited(largest=64)
    missing_share: float = limited(0.0, smallest=0, largest=1)
    mean: float = 0.0
    std: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceBaseline:
    """Top-1 confidence of this version on data it was not trained on.

    ``threshold`` is the value that ``share_below`` of the ``samples`` stayed under (the 10th percentile, so about 0.1;
    ties make it differ). ``bins`` are counts in sixteen equal steps of 0..1.
    """

    output: str = limited(chars=256)
    samples: int = limited(smallest=1)
    threshold: float = limited(smallest=0, largest=1)
    share_below: float = limited(smallest=0, largest=1)
    bins: tuple[int, ...] = limited(largest=CONFIDENCE_BINS)
    class_shares: tuple[float, ...] = limited((), largest=2048)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a version's inputs and answers looked like when it was made; a blob, referred to by digest."""

    KIND: ClassVar[str] = "baseline"
    BYTES_MAX: ClassVar[int] = 512 * 1024

    features: tuple[FeatureBaseline, ...] = limited((), largest=FEATURES_MAX)
    confidence: ConfidenceBaseline | None = None
