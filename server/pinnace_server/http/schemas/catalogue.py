"""Models, versions, variants, conversions, uploads."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field

from pinnace_contract import codec
from pinnace_contract.ids import Digest
from pinnace_contract.latest import AssetKind, Precision, TensorSpec, Variant
from pinnace_server.domain import lineage as domain
from pinnace_server.domain import records
from pinnace_server.http.schemas.body import asked, like

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER_DIGEST = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
_MODEL = {
    "name": "digits",
    "description": "Handwritten digits, 8 by 8 pixels",
    "created_at_s": 1795435200.0,
    "updated_at_s": 1795438800.0,
    "aliases": {"production": "1"},
    "versions": 2,
    "latest": "2",
    "card_required": ["intended_use"],
    "archived_at_s": None,
}
_VARIANT = {
    "digest": DIGEST,
    "runtime": "onnx",
    "precision": "int8-static",
    "size_bytes": 24576,
    "peak_memory_bytes": 4194304,
    "parity": {"samples": 360, "agreement": 0.994, "snr_db": 31.2, "accuracy": 0.978, "held_out": True},
    "passes": ["check", "clean_up", "quantize_static"],
}
_LINEAGE = {
    "code_commit": "188ed4d9c1",
    "data_digest": OTHER_DIGEST,
    "environment": DIGEST,
    "environment_kept": True,
    "source": DIGEST,
    "source_name": "digits.onnx",
}
VERSION = {
    "model": "digits",
    "version": "2",
    "release": OTHER_DIGEST,
    "sequence": 2,
    "epoch": 0,
    "size_bytes": 3100,
    "created_at_s": 1795438800.0,
    "actor": "admin",
    "card": "Trained on …",
    "card_fields": {"intended_use": "Reading meters"},
    "lineage": _LINEAGE,
    "aliases": ["staging"],
    "variants": [_VARIANT],
    "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}],
    "outputs": [{"name": "digit", "datatype": "FP32", "shape": [-1, 10]}],
    "assets": [],
    "golden_vectors": 16,
    "has_baseline": True,
    "expected_share_below": 0.1,
    "withdrawn": None,
    "withdrawn_at_s": None,
    "withdrawn_by": "",
    "withdrawn_reason": "",
    "archived_at_s": None,
    "trust": "dev",
}
_JOB = {
    "id": "j-3f9c2ab81d",
    "model": "digits",
    "version": "2",
    "state": "running",
    "stage": "int8-static: calibrating",
    "share": 0.4,
    "detail": "",
    "report": None,
    "actor": "admin",
    "created_at_s": 1795438700.0,
    "ended_at_s": None,
}


class NewModel(BaseModel):
    """A model to make."""

    model_config = asked({"name": "digits", "description": "Handwritten digits, 8 by 8 pixels"})

    name: str = Field(description="Lower-case letters, digits and '-', at most 63.", max_length=63)
    description: str = Field(default="", max_length=1024)


class ModelChange(BaseModel):
    """What to change of a model; what is left out stays."""

    model_config = asked({"description": "Handwritten digits, cleaned", "card_required": ["intended_use"]})

    description: str | None = Field(default=None, max_length=1024)
    card_required: list[str] | None = Field(
        default=None, max_length=64, description="The fields that the card of a new version must have; [] for none."
    )


class Model(BaseModel):
    """A named family of versions."""

    model_config = like(_MODEL)

    name: str
    description: str
    created_at_s: float
    updated_at_s: float
    aliases: dict[str, str] = Field(description="Alias to version.")
    versions: int = Field(description="How many there are.")
    latest: str | None = Field(description="The version of the largest sequence that is not archived.")
    card_required: list[str] = Field(description="The fields that the card of a new version must have.")
    archived_at_s: float | None

    @classmethod
    def of(cls, model: records.Model) -> Model:
        """Return a record as a body."""
        return cls(
            name=model.name,
            description=model.description,
            created_at_s=model.created_at_s,
            updated_at_s=model.updated_at_s,
            aliases={str(alias): str(version) for alias, version in model.aliases.items()},
            versions=model.versions,
            latest=model.latest,
            card_required=list(model.card_required),
            archived_at_s=model.archived_at_s,
        )


class Lineage(BaseModel):
    """Where a version comes from. Null and empty are "not said"."""

    model_config = like(_LINEAGE)

    code_commit: str = Field(description="Of the training code.")
    data_digest: str | None = Field(description="SHA-256 of the data's snapshot.")
    environment: str | None = Field(description="SHA-256 of the training environment's lock file.")
    environment_kept: bool = Field(description="Whether that file is here; see the version's origin.")
    source: str | None = Field(description="SHA-256 of the model that was converted.")
    source_name: str

    @classmethod
    def of(cls, lineage: domain.Lineage) -> Lineage:
        """Return a record as a body."""
        return cls(
            code_commit=lineage.code_commit,
            data_digest=lineage.data_digest,
            environment=lineage.environment,
            environment_kept=lineage.environment_kept,
            source=lineage.source,
            source_name=lineage.source_name,
        )


class NewLineage(BaseModel):
    """What its maker says of where a version comes from."""

    model_config = asked({"code_commit": "188ed4d9c1", "data_digest": OTHER_DIGEST, "environment": DIGEST})

    code_commit: str = Field(default="", max_length=64, description="Of the training code: 7 to 64 hexadecimal digits.")
    data_digest: str | None = Field(default=None, max_length=64, description="SHA-256 of the data's snapshot.")
    environment: str | None = Field(default=None, max_length=64, description="SHA-256 of the environment's lock file.")
    environment_file: bool = Field(default=False, description="The lock file was uploaded: keep it. At most 4 MiB.")

    def record(self) -> domain.Lineage:
        """Return this as a record, to be checked."""
        return domain.Lineage(
            code_commit=self.code_commit,
            data_digest=Digest(self.data_digest) if self.data_digest else None,
            environment=Digest(self.environment) if self.environment else None,
            environment_kept=self.environment_file,
        )


class VariantBody(BaseModel):
    """One build of a version. Null is "not measured"."""

    model_config = like(_VARIANT)

    digest: str
    runtime: str
    precision: str
    size_bytes: int
    peak_memory_bytes: int
    parity: dict[str, Any] | None = Field(description="Its answers beside the source model's; see the device contract.")
    passes: list[str] = Field(description="How it was made, in order.")

    @classmethod
    def of(cls, variant: Variant) -> VariantBody:
        """Return a variant as a body."""
        return cls(
            digest=variant.digest,
            runtime=variant.runtime,
            precision=variant.precision,
            size_bytes=variant.blob.size_bytes,
            peak_memory_bytes=variant.peak_memory_bytes,
            parity=codec.plain(variant.parity) if variant.parity else None,
            passes=[each.name for each in variant.provenance],
        )


class Tensor(BaseModel):
    """One input or output as applications see it."""

    model_config = like({"name": "image", "datatype": "FP32", "shape": [-1, 64]})

    name: str
    datatype: str
    shape: list[int]
    layout: str = ""
    unit: str = ""
    classes: list[str] = []

    @classmethod
    def of(cls, tensor: TensorSpec) -> Tensor:
        """Return a tensor as a body."""
        return cls(
            name=tensor.name,
            datatype=tensor.datatype,
            shape=list(tensor.shape),
            layout=tensor.layout,
            unit=tensor.unit,
            classes=list(tensor.classes),
        )


class Version(BaseModel):
    """An immutable, signed version."""

    model_config = like(VERSION)

    model: str
    version: str
    release: str = Field(description="SHA-256 of the signed release file.")
    sequence: int
    epoch: int = Field(description="The security epoch.")
    size_bytes: int = Field(description="Of the release file.")
    created_at_s: float
    actor: str
    card: str
    card_fields: dict[str, str]
    lineage: Lineage
    aliases: list[str]
    variants: list[VariantBody]
    inputs: list[Tensor]
    outputs: list[Tensor]
    assets: list[str]
    golden_vectors: int
    has_baseline: bool
    expected_share_below: float | None = Field(
        description="The share of answers under the release's confidence threshold that its baseline promises."
    )
    withdrawn: str | None = Field(
        description="`retire`: no device starts it any more; `stop`: none serves it either. Null: neither."
    )
    withdrawn_at_s: float | None
    withdrawn_by: str
    withdrawn_reason: str
    archived_at_s: float | None
    trust: str

    @classmethod
    def of(cls, version: records.Version, aliases: list[str]) -> Version:
        """Return a record as a body."""
        body, said = version.body, version.withdrawal
        return cls(
            model=version.model,
            version=version.version,
            release=version.release,
            sequence=version.sequence,
            epoch=version.epoch,
            size_bytes=version.size_bytes,
            created_at_s=version.created_at_s,
            actor=version.actor,
            card=version.card,
            card_fields=dict(version.card_fields),
            lineage=Lineage.of(version.lineage),
            aliases=aliases,
            variants=[VariantBody.of(variant) for variant in body.variants],
            inputs=[Tensor.of(tensor) for tensor in body.contract.inputs],
            outputs=[Tensor.of(tensor) for tensor in body.contract.outputs],
            assets=[asset.name for asset in body.assets],
            golden_vectors=body.golden.vectors,
            has_baseline=body.baseline is not None,
            expected_share_below=version.share_below,
            withdrawn=version.withdrawn,
            withdrawn_at_s=said.at_s if said else None,
            withdrawn_by=said.actor if said else "",
            withdrawn_reason=said.reason if said else "",
            archived_at_s=version.archived_at_s,
            trust="dev",
        )


class Upload(BaseModel):
    """A file in quarantine. It is kept for a day."""

    model_config = like({"digest": DIGEST, "size_bytes": 103424})

    digest: str = Field(description="SHA-256 of what was received: its name from now on.")
    size_bytes: int


class NewAsset(BaseModel):
    """A file that the release carries besides weights."""

    model_config = asked({"name": "labels.txt", "kind": "labels", "upload": DIGEST})

    name: str = Field(max_length=256)
    kind: AssetKind
    upload: str = Field(pattern="^[0-9a-f]{64}$")


class NewVersion(BaseModel):
    """A version to make from uploaded files. `declaration` is what `pinnace convert --processing` takes."""

    model_config = asked(
        {
            "version": "2",
            "source": DIGEST,
            "source_name": "digits.onnx",
            "calibration": OTHER_DIGEST,
            "precisions": ["fp32", "int8-static"],
        }
    )

    version: str = Field(max_length=64)
    source: str = Field(pattern="^[0-9a-f]{64}$", description="The uploaded model, by digest.")
    source_name: str = Field(default="model.onnx", max_length=256)
    calibration: str = Field(pattern="^[0-9a-f]{64}$", description="The uploaded calibration data (`.npz`), by digest.")
    heldout: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    declaration: dict[str, Any] = Field(default={}, description="Processing steps, classes, units, expectations.")
    precisions: list[Precision] = Field(default=[Precision.FP32, Precision.INT8_STATIC], min_length=1, max_length=8)
    variants: list[str] = Field(default=[], max_length=8, description="Ready TFLite variants, by digest.")
    assets: list[NewAsset] = Field(default=[], max_length=64)
    force: str = Field(default="", max_length=512, description="Why to offer what only numbers refuse; recorded.")
    agreement_min: float = Field(default=0.98, ge=0, le=1)
    accuracy_loss_max: float | None = Field(default=None, ge=0, le=1)
    seed: int = Field(default=0, ge=0, le=2**31)
    card: str = Field(default="", max_length=64 * 1024, description="The model card's free text, in Markdown.")
    card_fields: dict[str, str] = Field(default={}, max_length=64, description="The model card's named fields.")
    lineage: NewLineage = NewLineage()
    keep_files: bool = Field(default=True, description="Keep the uploads, so that the conversion can be run again.")


class NewDraft(BaseModel):
    """A version to make from the folder that `pinnace convert` left: its `draft.json`, and its blobs as uploads."""

    model_config = asked({"version": "2", "draft": {"contract": {}, "variants": []}, "card": ""})

    version: str = Field(max_length=64)
    draft: dict[str, Any] = Field(description="The content of `draft.json`.")
    card: str = Field(default="", max_length=64 * 1024)
    card_fields: dict[str, str] = Field(default={}, max_length=64, description="The model card's named fields.")
    lineage: NewLineage = NewLineage()


class Job(BaseModel):
    """A conversion on its way."""

    model_config = like(_JOB)

    id: str
    model: str
    version: str
    state: records.JobState
    stage: str
    share: float = Field(description="How much is done, 0 to 1.")
    detail: str = Field(description="Why it failed.")
    report: dict[str, Any] | None = Field(description="What was tried, and why each refused candidate was refused.")
    actor: str
    created_at_s: float
    ended_at_s: float | None

    @classmethod
    def of(cls, job: records.Job) -> Job:
        """Return a record as a body."""
        return cls(
            id=job.id,
            model=job.model,
            version=job.version,
            state=job.state,
            stage=job.stage,
            share=job.share,
            detail=job.detail,
            report=json.loads(job.report) if job.report else None,
            actor=job.actor,
            created_at_s=job.created_at_s,
            ended_at_s=job.ended_at_s,
        )
