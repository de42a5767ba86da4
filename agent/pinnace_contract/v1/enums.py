"""The closed sets of the contract. Values are wire words: never changed, only added to.

Reading an unknown value gives ``UNKNOWN``, so that an old program survives a newer peer; ``UNKNOWN`` is never sent.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Runtime(StrEnum):
    """What executes a variant."""

    ONNX = "onnx"
    TFLITE = "tflite"
    UNKNOWN = "unknown"


class Precision(StrEnum):
    """How a variant's numbers are stored and computed; read from its tensors, never from its file name."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8_DYNAMIC = "int8-dynamic"
    INT8_STATIC = "int8-static"
    INT4_WEIGHTS = "int4-weights"
    UNKNOWN = "unknown"


class Datatype(StrEnum):
    """Tensor element types under the names of the Open Inference Protocol v2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    UNKNOWN = "UNKNOWN"


class AssetKind(StrEnum):
    """What a release carries besides weights."""

    LABELS = "labels"
    THRESHOLDS = "thresholds"
    TOKENIZER = "tokenizer"
    GRAPH = "graph"
    CONFIGURATION = "configuration"
    UNKNOWN = "unknown"


class ResizeMethod(StrEnum):
    """How a resize step finds its values."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    UNKNOWN = "unknown"


class FeatureKind(StrEnum):
    """What a feature measures on one input tensor of one inference."""

    ELEMENT = "element"
    MEAN = "mean"
    STD = "std"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    GRADIENT = "gradient"
    UNKNOWN = "unknown"


class Intent(StrEnum):
    """Why a device is told to run a release; a rollback may go to an older one, an upgrade may not."""

    UPGRADE = "upgrade"
    ROLLBACK = "rollback"
    REMOVE = "remove"
    UNKNOWN = "unknown"


class TrialMode(StrEnum):
    """How a release proves itself between activation and commit."""

    LIVE = "live"
    NONE = "none"
    UNKNOWN = "unknown"


class ContactMode(StrEnum):
    """Whether a commit waits for a signed acknowledgement of the server."""

    REQUIRED = "required"
    NONE = "none"
    UNKNOWN = "unknown"


class OnNoContact(StrEnum):
    """What ends ``awaiting_contact`` when its time is over."""

    COMMIT = "commit"
    REVERT = "revert"
    UNKNOWN = "unknown"


class Swap(StrEnum):
    """Whether the old worker keeps serving while the new one loads."""

    AUTO = "auto"
    OVERLAP = "overlap"
    STOP_FIRST = "stop_first"
    UNKNOWN = "unknown"


class TrustLevel(StrEnum):
    """Which keys stand behind a model's releases; a device enforces the least level it was told."""

    DEV = "dev"
    DELEGATED = "delegated"
    CEREMONY = "ceremony"
    UNKNOWN = "unknown"


class Phase(StrEnum):
    """Where one model's update stands on a device."""

    IDLE = "idle"
    OFFERED = "offered"
    FETCHING = "fetching"
    VERIFYING = "verifying"
    STAGED = "staged"
    SELF_TEST = "self_test"
    SHADOW = "shadow"
    READY = "ready"
    TRIAL = "trial"
    PREPARED = "prepared"
    AWAITING_CONTACT = "awaiting_contact"
    REVERTING = "reverting"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """How one assignment of one model ended on a device."""

    COMMITTED = "committed"
    REVERTED = "reverted"
    FAILED = "failed"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Why a phase holds or an assignment ended as it did. ``NONE`` is "nothing to say", as in a plain commit."""

    NONE = "NONE"
    # what is wrong with the assignment or its metadata
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    METADATA_EXPIRED = "METADATA_EXPIRED"
    METADATA_ROLLBACK = "METADATA_ROLLBACK"
    META_INCONSISTENT = "META_INCONSISTENT"
    WRONG_DEVICE = "WRONG_DEVICE"
    WRONG_INCARNATION = "WRONG_INCARNATION"
    GENERATION_SUPERSEDED = "GENERATION_SUPERSEDED"
    GENERATION_BEHIND = "GENERATION_BEHIND"
    BELOW_FLOOR = "BELOW_FLOOR"
    OLDER_RELEASE = "OLDER_RELEASE"
    TRUST_TOO_LOW = "TRUST_TOO_LOW"
    WITHDRAWN = "WITHDRAWN"
    NO_FALLBACK = "NO_FALLBACK"
    KNOWN_BAD = "KNOWN_BAD"
    RELEASE_INVALID = "RELEASE_INVALID"
    UNSUPPORTED_STEP = "UNSUPPORTED_STEP"
    NO_RUNTIME = "NO_RUNTIME"
    NO_VARIANT = "NO_VARIANT"
    AGENT_TOO_OLD = "AGENT_TOO_OLD"
    HARDWARE_MISMATCH = "HARDWARE_MISMATCH"
    SET_REFUSED = "SET_REFUSED"
    # what holds a device for now
    APP_CONTRACT = "APP_CONTRACT"
    WINDOW = "WINDOW"
    VETO = "VETO"
    METERED = "METERED"
    TRANSFER_WAITING = "TRANSFER_WAITING"
    NO_CONTACT = "NO_CONTACT"
    LEASE_ENDED = "LEASE_ENDED"
    # the way there
    TRANSFER_FAILED = "TRANSFER_FAILED"
    TRANSFER_GONE = "TRANSFER_GONE"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    # the device's own troubles
    NO_ROOM = "NO_ROOM"
    NO_MEMORY = "NO_MEMORY"
    STORAGE_ERROR = "STORAGE_ERROR"
    # the model's
    LOAD_FAILED = "LOAD_FAILED"
    GOLDEN_MISMATCH = "GOLDEN_MISMATCH"
    CONTRACT_MISMATCH = "CONTRACT_MISMATCH"
    CRASHED = "CRASHED"
    HUNG = "HUNG"
    MEMORY_EXCEEDED = "MEMORY_EXCEEDED"
    ERROR_RATE = "ERROR_RATE"
    LATENCY = "LATENCY"
    DISAGREEMENT = "DISAGREEMENT"
    # time and decisions
    DEADLINE = "DEADLINE"
    LOOP = "LOOP"
    NEWER_GENERATION = "NEWER_GENERATION"
    CANCELLED_BY_SERVER = "CANCELLED_BY_SERVER"
    SITE_REVERTED = "SITE_REVERTED"
    REMOVED = "REMOVED"
    CLONE_SUSPECTED = "CLONE_SUSPECTED"
    REINSTALLED = "REINSTALLED"
    UNKNOWN = "UNKNOWN"


PERMANENT: Final = frozenset(
    {
        Cause.LOAD_FAILED,
        Cause.GOLDEN_MISMATCH,
        Cause.CONTRACT_MISMATCH,
        Cause.UNSUPPORTED_STEP,
        Cause.NO_RUNTIME,
    }
)
"""What a second attempt with the same bytes and runtime cannot mend: the device refuses it as ``KNOWN_BAD``."""


class EvidenceKind(StrEnum):
    """Whether a trial saw an application's requests or replayed golden vectors."""

    LIVE = "live"
    SYNTHETIC = "synthetic"
    UNKNOWN = "unknown"


class Arm(StrEnum):
    """Which role a variant played for the inferences of a report block."""

    SERVING = "serving"
    CONTROL = "control"
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    UNKNOWN = "unknown"


class ArmMode(StrEnum):
    """What two resident releases are kept for."""

    SPLIT = "split"
    SHADOW = "shadow"
    BLUE_GREEN = "blue_green"
    UNKNOWN = "unknown"


class SiteVerdict(StrEnum):
    """What the director decided for the prepared devices of a site."""

    COMMIT = "commit"
    REVERT = "revert"
    UNKNOWN = "unknown"


class WithdrawMode(StrEnum):
    """``retire``: no new start; ``stop``: unload now."""

    RETIRE = "retire"
    STOP = "stop"
    UNKNOWN = "unknown"


class CommandKind(StrEnum):
    """What a server may ask of an agent besides assignments."""

    LOGS = "logs"
    RESTART = "restart"
    IDENTIFY = "identify"
    PROFILE = "profile"
    WIPE = "wipe"
    UNKNOWN = "unknown"


class CommandStatus(StrEnum):
    """How a command ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
