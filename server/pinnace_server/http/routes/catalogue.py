"""Models, versions, variants."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from pinnace_contract import ids
from pinnace_contract.ids import Digest, VersionName
from pinnace_server.domain import records
from pinnace_server.errors import NotFound, Refused
from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.paging import Archived, NamedModel, Paged, VersionText
from pinnace_server.http.schemas import catalogue as bodies
from pinnace_server.http.schemas.body import Listed, listed
from pinnace_server.service.conversions import (
    AssetUpload,
    CardField,
    ConversionRequest,
    draft_papers,
    read_declaration,
    read_draft,
)
from pinnace_server.service.services import Services

router = APIRouter(tags=["catalogue"])
_DIGEST = Path(description="A variant's digest.", pattern="^[0-9a-f]{64}$")
_FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "…"}}


@router.get("/models", responses=errors(401, 422, 503), summary="List models")
def models(
    served: Served,
    _: Actor,
    page: Paged,
    text: Annotated[str, Query(description="Part of the name.", max_length=200)] = "",
    archived: Archived = False,
) -> Listed[bodies.Model]:
    """Return models by name."""
    found = served.catalogue.models(page, text, archived=archived)
    return listed([bodies.Model.of(model) for model in found.rows], found.total, page)


@router.post("/models", status_code=201, responses=errors(400, 401, 409, 422, 503), summary="Make a model")
def add_model(served: Served, actor: Actor, new: bodies.NewModel) -> bodies.Model:
    """Make a named family of versions. Making the same again changes nothing."""
    return bodies.Model.of(served.catalogue.add_model(new.name, new.description, actor))


@router.get("/models/{model}", responses=errors(401, 404, 422, 503), summary="Show a model")
def model(served: Served, _: Actor, model: NamedModel) -> bodies.Model:
    """Return one model."""
    return bodies.Model.of(served.catalogue.model(model))


@router.patch("/models/{model}", responses=errors(400, 401, 404, 422, 503), summary="Change a model")
def change(served: Served, actor: Actor, model: NamedModel, change: bodies.ModelChange) -> bodies.Model:
    """Change the description, or which fields the card of a new version must have."""
    if change.card_required is not None:
        served.catalogue.require_card(model, change.card_required, actor)
    if change.description is not None:
        served.catalogue.describe(model, change.description)
    return bodies.Model.of(served.catalogue.model(model))


@router.get("/models/{model}/versions", responses=errors(401, 404, 422, 503), summary="List a model's versions")
def versions(
    served: Served, _: Actor, model: NamedModel, page: Paged, archived: Archived = False
) -> Listed[bodies.Version]:
    """Return a model's versions, the newest first."""
    found = served.catalogue.versions(model, page, archived=archived)
    family = served.catalogue.model(model)
    return listed([version_body(version, family) for version in found.rows], found.total, page)


@router.post(
    "/models/{model}/versions",
    status_code=202,
    responses=errors(400, 401, 404, 409, 422, 503),
    summary="Convert an uploaded model into a version",
)
def convert(served: Served, actor: Actor, model: NamedModel, new: bodies.NewVersion) -> bodies.Job:
    """Begin a conversion. The answer is a job; when it is `done` the version is signed and listed."""
    return bodies.Job.of(served.conversions.submit(model, new.version, _request(new), actor))


@router.post(
    "/models/{model}/drafts",
    status_code=201,
    responses=errors(400, 401, 404, 409, 422, 503, 507),
    summary="Make a version of a draft that was converted elsewhere",
)
def add_draft(served: Served, actor: Actor, model: NamedModel, new: bodies.NewDraft) -> bodies.Version:
    """Sign and list a draft. Upload its blobs first."""
    name = VersionName(new.version)
    draft = read_draft(new.draft)
    papers = draft_papers(draft, card=new.card, card_fields=new.card_fields, lineage=new.lineage.record())
    served.catalogue.check_new(model, name, papers)
    environment = papers.lineage.environment if papers.lineage.environment_kept else None
    if environment is not None:
        papers = replace(papers, files={environment: served.upload_path(environment)})
    files = {blob.digest: served.upload_path(blob.digest) for blob in draft.blobs() if not _has(served, blob.digest)}
    added = served.catalogue.register(model=model, version=name, draft=draft, files=files, actor=actor, papers=papers)
    return version_body(added, served.catalogue.model(model))


@router.get("/models/{model}/versions/{version}", responses=errors(401, 404, 422, 503), summary="Show a version")
def version(served: Served, _: Actor, model: NamedModel, version: VersionText) -> bodies.Version:
    """Return one version, by name or by `@alias`."""
    return version_body(served.catalogue.version(model, version), served.catalogue.model(model))


@router.get(
    "/models/{model}/versions/{version}/release",
    response_class=Response,
    responses={**errors(401, 404, 422, 503), 200: {"content": _FILE, "description": "The file, byte for byte."}},
    summary="Download the signed release file",
)
def release(served: Served, _: Actor, model: NamedModel, version: VersionText) -> Response:
    """Return the release file as it was signed; its SHA-256 is the release's id."""
    return Response(served.catalogue.release_file(model, version), media_type="application/octet-stream")


@router.get(
    "/models/{model}/versions/{version}/variants",
    responses=errors(401, 404, 422, 503),
    summary="List a version's variants",
)
def variants(served: Served, _: Actor, model: NamedModel, version: VersionText) -> Listed[bodies.VariantBody]:
    """Return every variant, in the order in which devices try them."""
    found = served.catalogue.version(model, version).body.variants
    return Listed(items=[bodies.VariantBody.of(variant) for variant in found], total=len(found), next=None)


@router.get(
    "/models/{model}/versions/{version}/variants/{digest}",
    responses=errors(401, 404, 422, 503),
    summary="Show a variant",
)
def variant(
    served: Served, _: Actor, model: NamedModel, version: VersionText, digest: Annotated[str, _DIGEST]
) -> bodies.VariantBody:
    """Return one variant."""
    found = served.catalogue.version(model, version).body.variant(Digest(digest))
    if found is None:
        raise NotFound("variant", digest)
    return bodies.VariantBody.of(found)


@router.get(
    "/models/{model}/versions/{version}/variants/{digest}/file",
    response_class=Response,
    responses={**errors(401, 404, 422, 503), 200: {"content": _FILE, "description": "The file, byte for byte."}},
    summary="Download a variant's file",
)
def variant_file(
    served: Served, _: Actor, model: NamedModel, version: VersionText, digest: Annotated[str, _DIGEST]
) -> Response:
    """Return the file that devices get."""
    found = served.catalogue.version(model, version).body.variant(Digest(digest))
    if found is None:
        raise NotFound("variant", digest)
    return Response(served.world.blobs.read(found.digest), media_type="application/octet-stream")


def version_body(version: records.Version, family: records.Model) -> bodies.Version:
    """Return a version as a body, with the aliases that point at it."""
    aliases = sorted(str(alias) for alias, target in family.aliases.items() if target == version.version)
    return bodies.Version.of(version, aliases)


def _has(served: Services, digest: Digest) -> bool:
    return served.world.blobs.has(digest)


def _request(new: bodies.NewVersion) -> ConversionRequest:
    if not ids.fits(VersionName, new.version):
        raise Refused(f"{new.version!r} is not a version's name", hint="letters, digits, '.', '_' and '-'")
    return ConversionRequest(
        source=Digest(new.source),
        source_name=new.source_name,
        calibration=Digest(new.calibration),
        heldout=Digest(new.heldout) if new.heldout else None,
        declaration=read_declaration(new.declaration),
        precisions=tuple(new.precisions),
        variants=tuple(Digest(each) for each in new.variants),
        assets=tuple(AssetUpload(name=each.name, kind=each.kind, upload=Digest(each.upload)) for each in new.assets),
        force=new.force,
        agreement_min=new.agreement_min,
        accuracy_loss_max=new.accuracy_loss_max,
        seed=new.seed,
        card=new.card,
        card_fields=tuple(CardField(name=name, text=text) for name, text in new.card_fields.items()),
        lineage=new.lineage.record(),
        keep_files=new.keep_files,
    )
