"""The current version of every message, by explicit re-export: programs import from here, golden tests from ``v1``."""

from pinnace_contract.v1.assignment import (
    AllowDowngrade as AllowDowngrade,
)
from pinnace_contract.v1.assignment import (
    Arms as Arms,
)
from pinnace_contract.v1.assignment import (
    AssignmentSet as AssignmentSet,
)
from pinnace_contract.v1.assignment import (
    AuditHead as AuditHead,
)
from pinnace_contract.v1.assignment import (
    ContactPolicy as ContactPolicy,
)
from pinnace_contract.v1.assignment import (
    Deadlines as Deadlines,
)
from pinnace_contract.v1.assignment import (
    Endpoint as Endpoint,
)
from pinnace_contract.v1.assignment import (
    Entry as Entry,
)
from pinnace_contract.v1.assignment import (
    MessageKey as MessageKey,
)
from pinnace_contract.v1.assignment import (
    ProfileDelegation as ProfileDelegation,
)
from pinnace_contract.v1.assignment import (
    Segment as Segment,
)
from pinnace_contract.v1.assignment import (
    SiteDecision as SiteDecision,
)
from pinnace_contract.v1.assignment import (
    Statement as Statement,
)
from pinnace_contract.v1.assignment import (
    StatementBody as StatementBody,
)
from pinnace_contract.v1.assignment import (
    TimeReset as TimeReset,
)
from pinnace_contract.v1.assignment import (
    Transfer as Transfer,
)
from pinnace_contract.v1.assignment import (
    TrialPolicy as TrialPolicy,
)
from pinnace_contract.v1.assignment import (
    UnknownStatement as UnknownStatement,
)
from pinnace_contract.v1.assignment import (
    Window as Window,
)
from pinnace_contract.v1.assignment import (
    Withdrawal as Withdrawal,
)
from pinnace_contract.v1.assignment import (
    WithdrawnRelease as WithdrawnRelease,
)
from pinnace_contract.v1.device import (
    RECEIPT_LOG_CHARS_MAX as RECEIPT_LOG_CHARS_MAX,
)
from pinnace_contract.v1.device import (
    ActiveModel as ActiveModel,
)
from pinnace_contract.v1.device import (
    Evidence as Evidence,
)
from pinnace_contract.v1.device import (
    GoldenResult as GoldenResult,
)
from pinnace_contract.v1.device import (
    LatencySummary as LatencySummary,
)
from pinnace_contract.v1.device import (
    ModelState as ModelState,
)
from pinnace_contract.v1.device import (
    PhaseTime as PhaseTime,
)
from pinnace_contract.v1.device import (
    Presence as Presence,
)
from pinnace_contract.v1.device import (
    Receipt as Receipt,
)
from pinnace_contract.v1.device import (
    Reported as Reported,
)
from pinnace_contract.v1.device import (
    Running as Running,
)
from pinnace_contract.v1.device import (
    Standby as Standby,
)
from pinnace_contract.v1.device import (
    SystemHealth as SystemHealth,
)
from pinnace_contract.v1.enrolment import (
    ClaimToken as ClaimToken,
)
from pinnace_contract.v1.enrolment import (
    Enrolled as Enrolled,
)
from pinnace_contract.v1.enrolment import (
    EnrolRequest as EnrolRequest,
)
from pinnace_contract.v1.enrolment import (
    Label as Label,
)
from pinnace_contract.v1.enrolment import (
    claim_token_text as claim_token_text,
)
from pinnace_contract.v1.enrolment import (
    parse_claim_token as parse_claim_token,
)
from pinnace_contract.v1.enums import (
    PERMANENT as PERMANENT,
)
from pinnace_contract.v1.enums import (
    Arm as Arm,
)
from pinnace_contract.v1.enums import (
    ArmMode as ArmMode,
)
from pinnace_contract.v1.enums import (
    AssetKind as AssetKind,
)
from pinnace_contract.v1.enums import (
    Cause as Cause,
)
from pinnace_contract.v1.enums import (
    CommandKind as CommandKind,
)
from pinnace_contract.v1.enums import (
    CommandStatus as CommandStatus,
)
from pinnace_contract.v1.enums import (
    ContactMode as ContactMode,
)
from pinnace_contract.v1.enums import (
    Datatype as Datatype,
)
from pinnace_contract.v1.enums import (
    EvidenceKind as EvidenceKind,
)
from pinnace_contract.v1.enums import (
    FeatureKind as FeatureKind,
)
from pinnace_contract.v1.enums import (
    Intent as Intent,
)
from pinnace_contract.v1.enums import (
    OnNoContact as OnNoContact,
)
from pinnace_contract.v1.enums import (
    Outcome as Outcome,
)
from pinnace_contract.v1.enums import (
    Phase as Phase,
)
from pinnace_contract.v1.enums import (
    Precision as Precision,
)
from pinnace_contract.v1.enums import (
    ResizeMethod as ResizeMethod,
)
from pinnace_contract.v1.enums import (
    Runtime as Runtime,
)
from pinnace_contract.v1.enums import (
    SiteVerdict as SiteVerdict,
)
from pinnace_contract.v1.enums import (
    Swap as Swap,
)
from pinnace_contract.v1.enums import (
    TrialMode as TrialMode,
)
from pinnace_contract.v1.enums import (
    TrustLevel as TrustLevel,
)
from pinnace_contract.v1.enums import (
    WithdrawMode as WithdrawMode,
)
from pinnace_contract.v1.release import (
    CHUNK_BYTES_MAX as CHUNK_BYTES_MAX,
)
from pinnace_contract.v1.release import (
    CONFIDENCE_BINS as CONFIDENCE_BINS,
)
from pinnace_contract.v1.release import (
    FEATURES_MAX as FEATURES_MAX,
)
from pinnace_contract.v1.release import (
    P95 as P95,
)
from pinnace_contract.v1.release import (
    RELEASE_BYTES_MAX as RELEASE_BYTES_MAX,
)
from pinnace_contract.v1.release import (
    ArgMax as ArgMax,
)
from pinnace_contract.v1.release import (
    Asset as Asset,
)
from pinnace_contract.v1.release import (
    Baseline as Baseline,
)
from pinnace_contract.v1.release import (
    Binding as Binding,
)
from pinnace_contract.v1.release import (
    Blob as Blob,
)
from pinnace_contract.v1.release import (
    Cast as Cast,
)
from pinnace_contract.v1.release import (
    Chunk as Chunk,
)
from pinnace_contract.v1.release import (
    Clip as Clip,
)
from pinnace_contract.v1.release import (
    ConfidenceBaseline as ConfidenceBaseline,
)
from pinnace_contract.v1.release import (
    Expectations as Expectations,
)
from pinnace_contract.v1.release import (
    FeatureBaseline as FeatureBaseline,
)
from pinnace_contract.v1.release import (
    Golden as Golden,
)
from pinnace_contract.v1.release import (
    Graph as Graph,
)
from pinnace_contract.v1.release import (
    IoContract as IoContract,
)
from pinnace_contract.v1.release import (
    Normalize as Normalize,
)
from pinnace_contract.v1.release import (
    Parity as Parity,
)
from pinnace_contract.v1.release import (
    PassRecord as PassRecord,
)
from pinnace_contract.v1.release import (
    Processing as Processing,
)
from pinnace_contract.v1.release import (
    Release as Release,
)
from pinnace_contract.v1.release import (
    Requirements as Requirements,
)
from pinnace_contract.v1.release import (
    Reshape as Reshape,
)
from pinnace_contract.v1.release import (
    Resize as Resize,
)
from pinnace_contract.v1.release import (
    Scale as Scale,
)
from pinnace_contract.v1.release import (
    Softmax as Softmax,
)
from pinnace_contract.v1.release import (
    Step as Step,
)
from pinnace_contract.v1.release import (
    TensorSpec as TensorSpec,
)
from pinnace_contract.v1.release import (
    Tolerance as Tolerance,
)
from pinnace_contract.v1.release import (
    Transpose as Transpose,
)
from pinnace_contract.v1.release import (
    UnknownStep as UnknownStep,
)
from pinnace_contract.v1.release import (
    Variant as Variant,
)
from pinnace_contract.v1.report import (
    Block as Block,
)
from pinnace_contract.v1.report import (
    DroppedRange as DroppedRange,
)
from pinnace_contract.v1.report import (
    ErrorCount as ErrorCount,
)
from pinnace_contract.v1.report import (
    FeatureCounts as FeatureCounts,
)
from pinnace_contract.v1.report import (
    GroupCounts as GroupCounts,
)
from pinnace_contract.v1.report import (
    Health as Health,
)
from pinnace_contract.v1.report import (
    Labels as Labels,
)
from pinnace_contract.v1.report import (
    LatencyCounts as LatencyCounts,
)
from pinnace_contract.v1.report import (
    OutcomeCounts as OutcomeCounts,
)
from pinnace_contract.v1.report import (
    Predictions as Predictions,
)
from pinnace_contract.v1.report import (
    Report as Report,
)
from pinnace_contract.v1.report import (
    ShadowCounts as ShadowCounts,
)
from pinnace_contract.v1.server import (
    Ack as Ack,
)
from pinnace_contract.v1.server import (
    Command as Command,
)
from pinnace_contract.v1.server import (
    CommandResult as CommandResult,
)
from pinnace_contract.v1.server import (
    ReportRange as ReportRange,
)
from pinnace_contract.v1.transfer import (
    DATA_BYTES_MAX as DATA_BYTES_MAX,
)
from pinnace_contract.v1.transfer import (
    STATUS_GONE as STATUS_GONE,
)
from pinnace_contract.v1.transfer import (
    STATUS_NOT_FOUND as STATUS_NOT_FOUND,
)
from pinnace_contract.v1.transfer import (
    STATUS_OK as STATUS_OK,
)
from pinnace_contract.v1.transfer import (
    Data as Data,
)
from pinnace_contract.v1.transfer import (
    Want as Want,
)
