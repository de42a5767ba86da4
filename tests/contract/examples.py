"""One full example of every message; the golden files are these, written once and kept for ever."""

from __future__ import annotations

from pinnace_contract.ids import (
    BootId,
    CommandId,
    DeviceId,
    Digest,
    IncarnationId,
    KeyId,
    ModelName,
    ReleaseId,
    RolloutId,
    StatementId,
    VersionName,
    WaveId,
    digest_of,
)
from pinnace_contract.latest import (
    P95,
    Ack,
    ActiveModel,
    Arm,
    ArmMode,
    Arms,
    Asset,
    AssetKind,
    AssignmentSet,
    AuditHead,
    Baseline,
    Binding,
    Blob,
    Block,
    Cause,
    Chunk,
    ClaimToken,
    Command,
    CommandKind,
    CommandResult,
    CommandStatus,
    ConfidenceBaseline,
    Datatype,
    DroppedRange,
    Endpoint,
    Enrolled,
    EnrolRequest,
    Entry,
    ErrorCount,
    Evidence,
    EvidenceKind,
    Expectations,
    FeatureBaseline,
    FeatureCounts,
    FeatureKind,
    Golden,
    GoldenResult,
    GroupCounts,
    Health,
    Intent,
    IoContract,
    Label,
    Labels,
    LatencyCounts,
    LatencySummary,
    MessageKey,
    ModelState,
    Normalize,
    Outcome,
    OutcomeCounts,
    Parity,
    PassRecord,
    Phase,
    PhaseTime,
    Precision,
    Predictions,
    Presence,
    Processing,
    Receipt,
    Release,
    Report,
    Reported,
    ReportRange,
    Requirements,
    Running,
    Runtime,
    Scale,
    Segment,
    ShadowCounts,
    SiteDecision,
    SiteVerdict,
    Softmax,
    Statement,
    SystemHealth,
    TensorSpec,
    Tolerance,
    Transfer,
    TrialPolicy,
    Variant,
    Want,
    Window,
    Withdrawal,
    WithdrawMode,
    WithdrawnRelease,
)

DEVICE = DeviceId("camera-07")
INCARNATION = IncarnationId("0" * 31 + "1")
BOOT = BootId("b" * 32)
MODEL = ModelName("defect-detect")


def digest(name: str) -> Digest:
    return digest_of(name.encode())


def blob(name: str, size_bytes: int = 100) -> Blob:
    return Blob(digest=digest(name), size_bytes=size_bytes, chunks=(Chunk(digest=digest(name), size_bytes=size_bytes),))


RUNNING = Running(
    release=ReleaseId(digest("release-6")), variant=digest("weights-6"), version=VersionName("6"), sequence=6
)

RELEASE = Release(
    model=MODEL,
    version=VersionName("7.1"),
    sequence=7,
    epoch=2,
    created_at_s=1_795_000_000,
    contract=IoContract(
        inputs=(
            TensorSpec(name="image", datatype=Datatype.UINT8, shape=(-1, 32, 32, 3), layout="NHWC", unit="0..255"),
        ),
        outputs=(TensorSpec(name="scores", datatype=Datatype.FP32, shape=(-1, 2), classes=("good", "defect")),),
    ),
    processing=Processing(
        before=(
            Scale(tensor="image", factor=0.5),
            Normalize(tensor="image", axis=-1, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 2.0)),
        ),
        after=(Softmax(tensor="scores"),),
    ),
    variants=(
        Variant(
            blob=blob("weights-7"),
            runtime=Runtime.TFLITE,
            precision=Precision.INT8_STATIC,
            peak_memory_bytes=1_000_000,
            inputs=(Binding(name="image", tensor="serving_default_image:0", permutation=(0, 2, 3, 1)),),
            parity=Parity(samples=60, max_abs=0.25, snr_db=31.5, agreement=0.98, held_out=True),
            provenance=(PassRecord(name="int8-static", tool="onnxruntime 1.2", input=digest("a"), output=digest("b")),),
        ),
    ),
    assets=(Asset(name="labels.txt", kind=AssetKind.LABELS, blob=blob("labels")),),
    golden=Golden(
        blob=blob("golden"),
        vectors=16,
        tolerances=(
            Tolerance(runtime=Runtime.TFLITE, precision=Precision.INT8_STATIC, snr_db_min=10.0, agreement_min=0.9),
        ),
    ),
    baseline=blob("baseline"),
    expectations=Expectations(error_rate_max=0.01, p95=(P95(hardware="pi4", p95_ms=40.0),)),
    requirements=Requirements(hardware=("pi4", "jetson"), agent_version="0.1.0", memory_bytes=2_000_000),
)

ASSIGNMENT_SET = AssignmentSet(
    device=DEVICE,
    incarnation=INCARNATION,
    generation=2**32 + 5,
    issued_at_s=1_795_000_100,
    entries=(
        Entry(
            model=MODEL,
            generation=2**32 + 5,
            attempt=2,
            intent=Intent.ROLLBACK,
            release=ReleaseId(digest("release-7")),
            release_size_bytes=4_000,
            variants=(digest("weights-7"), digest("weights-7b")),
            trial=TrialPolicy(inferences=500, duration_s=600),
            window=Window(opens_s=1_795_000_200, closes_s=1_795_003_800),
            arms=Arms(
                mode=ArmMode.SPLIT, control=ReleaseId(digest("release-6")), share_percent=20, until_s=1_795_100_000
            ),
            transfer=Transfer(
                wave=WaveId("r-12.w-1"),
                segments=(Segment(number=0, blob=digest("weights-7"), first_chunk=0, chunks=12),),
            ),
            rollout=RolloutId("r-12"),
        ),
    ),
    endpoints=(Endpoint(url="mqtts://broker.example:8883"),),
    message_keys=(MessageKey(keyid=KeyId(digest("key")), public_hex="ab" * 32),),
    audit_head=AuditHead(size=10, root=digest("log")),
    site_decisions=(
        SiteDecision(rollout=RolloutId("r-11"), site="plant-7", generation=2**32 + 4, verdict=SiteVerdict.COMMIT),
    ),
)

WITHDRAWING_SET = AssignmentSet(
    device=DEVICE,
    incarnation=INCARNATION,
    generation=2**32 + 6,
    issued_at_s=1_795_000_200,
    withdrawn=(
        WithdrawnRelease(model=MODEL, release=ReleaseId(digest("release-7")), mode=WithdrawMode.STOP),
        WithdrawnRelease(model=MODEL, release=ReleaseId(digest("release-5")), mode=WithdrawMode.RETIRE),
    ),
)

PRESENCE = Presence(
    device=DEVICE,
    incarnation=INCARNATION,
    seq=41,
    boot=BOOT,
    connection=3,
    online=True,
    agent_version="0.1.0",
    hardware="pi4",
    runtimes=(Runtime.ONNX, Runtime.TFLITE),
    active=(ActiveModel(model=MODEL, running=RUNNING),),
    at_s=1_795_000_300.5,
)

REPORTED = Reported(
    device=DEVICE,
    incarnation=INCARNATION,
    seq=42,
    boot=BOOT,
    generation=2**32 + 5,
    models=(
        ModelState(
            model=MODEL,
            generation=2**32 + 5,
            attempt=2,
            phase=Phase.STAGED,
            cause=Cause.VETO,
            detail="the line is running, 600 s left",
            current=RUNNING,
            last_good=(RUNNING,),
            floor=2,
            fetched_bytes=100,
            fetch_bytes=100,
            accepts=(digest("contract"),),
        ),
    ),
    audit_head=AuditHead(size=10, root=digest("log")),
    at_s=1_795_000_301.0,
)

RECEIPT = Receipt(
    device=DEVICE,
    incarnation=INCARNATION,
    counter=9,
    boot=BOOT,
    model=MODEL,
    generation=2**32 + 5,
    attempt=2,
    outcome=Outcome.REVERTED,
    cause=Cause.CRASHED,
    detail="three crashes within 12 s",
    release=ReleaseId(digest("release-7")),
    variant=digest("weights-7"),
    version=VersionName("7.1"),
    active=RUNNING,
    previous=RUNNING,
    runtime="ai-edge-litert 2.3.0",
    agent_version="0.1.0",
    golden=GoldenResult(vectors=16, passed=True, max_abs=0.01, snr_db=35.0, agreement=1.0),
    evidence=Evidence(kind=EvidenceKind.LIVE, inferences=61, errors=3, crashes=3),
    latency=LatencySummary(samples=58, p50_ms=4.5, p95_ms=7.0, p99_ms=9.5),
    load_ms=120.5,
    swap_gap_ms=0.0,
    peak_memory_bytes=40_000_000,
    health=SystemHealth(cpu_share=0.5, memory_free_bytes=10**9, temperature_c=61.5),
    phases=(PhaseTime(phase=Phase.FETCHING, seconds=2.5), PhaseTime(phase=Phase.TRIAL, seconds=12.0)),
    at_s=1_795_000_400.0,
    log="std::bad_alloc\n",
)

REPORT = Report(
    device=DEVICE,
    incarnation=INCARNATION,
    boot=BOOT,
    seq_from=7,
    seq_to=9,
    from_s=1_795_000_300.0,
    to_s=1_795_000_480.0,
    blocks=(
        Block(
            model=MODEL,
            release=RUNNING.release,
            variant=RUNNING.variant,
            arm=Arm.SERVING,
            n=600,
            errors=(ErrorCount(name="runtime", n=2),),
            slow=31,
            latency=LatencyCounts(zero=0, offset=-160, counts=bytes([3, 5, 0xD0, 4])),
            processing=LatencyCounts(zero=1, offset=-180, counts=bytes([9])),
            features=FeatureCounts(baseline=digest("baseline"), counts=bytes([1, 2, 3]), sums=(1.5,), squares=(2.25,)),
            predictions=Predictions(n=598, below=60, confidence=(0, 0, 1), classes=bytes([100, 20])),
            labels=Labels(n=50, errors=1),
            shadow=ShadowCounts(pairs=10, disagreements=1),
            groups=(GroupCounts(name="night", n=5, errors=1, positives=2),),
            outcome=OutcomeCounts(trials=10, successes=9),
        ),
    ),
    health=Health(cpu_share=0.25, memory_free_bytes=10**9, temperature_c=55.0, throttled=False),
    dropped=(DroppedRange(boot=BOOT, seq_from=1, seq_to=2),),
)

ACK = Ack(
    device=DEVICE,
    incarnation=INCARNATION,
    receipts=(RECEIPT.id,),
    reports=(ReportRange(boot=BOOT, seq_from=7, seq_to=9),),
    at_s=1_795_000_481.0,
    expires_s=1_795_004_081.0,
)

COMMAND = Command(
    device=DEVICE,
    incarnation=INCARNATION,
    command=CommandId("c-1"),
    kind=CommandKind.LOGS,
    argument="500",
    expires_s=1_795_004_081.0,
)

COMMAND_RESULT = CommandResult(
    device=DEVICE,
    incarnation=INCARNATION,
    seq=50,
    command=CommandId("c-1"),
    status=CommandStatus.DONE,
    text="12:00 started\n",
    at_s=1_795_000_500.0,
)

STATEMENT = Statement(
    issued_at_s=1_795_000_000,
    body=Withdrawal(
        statement=StatementId("w-1"),
        model=MODEL,
        release=ReleaseId(digest("release-7")),
        mode=WithdrawMode.STOP,
        least_next_epoch=3,
    ),
)

WANT = Want(
    device=DEVICE,
    incarnation=INCARNATION,
    seq=60,
    blob=digest("weights-7"),
    chunks=12,
    missing=bytes([0b11110000, 0b1111]),
    window=8,
)

BASELINE = Baseline(
    features=(
        FeatureBaseline(
            name="brightness",
            kind=FeatureKind.MEAN,
            tensor="image",
            edges=(10.0, 20.0),
            shares=(0.25, 0.5, 0.25),
            mean=15.0,
            std=5.0,
        ),
    ),
    confidence=ConfidenceBaseline(
        output="scores", samples=360, threshold=0.75, share_below=0.1, bins=(0,) * 12 + (36, 24, 100, 200)
    ),
)

CLAIM_TOKEN = ClaimToken(
    secret_hex="5e" * 32,
    image_root=digest("image-root"),
    director_root=digest("director-root"),
    expires_s=1_796_000_000,
)

ENROL_REQUEST = EnrolRequest(
    secret_hex="5e" * 32,
    csr_pem="-----BEGIN CERTIFICATE REQUEST-----\n...\n",
    incarnation=INCARNATION,
    name="camera 07",
    serial="SN-1",
    hardware="pi4",
    agent_version="0.1.0",
    runtimes=(Runtime.ONNX,),
    labels=(Label(key="site", value="plant-7"),),
)

ENROLLED = Enrolled(
    device=DEVICE, endpoints=("mqtts://broker.example:8883",), image_roots=(b"root 1",), director_roots=(b"root 1",)
)

JSON_EXAMPLES = (
    RELEASE,
    ASSIGNMENT_SET,
    PRESENCE,
    REPORTED,
    RECEIPT,
    ACK,
    COMMAND,
    COMMAND_RESULT,
    STATEMENT,
    WANT,
    BASELINE,
    CLAIM_TOKEN,
    ENROL_REQUEST,
    ENROLLED,
)
