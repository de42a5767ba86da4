"""The archive, where versions were, and how they were converted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, BinaryIO, Final

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse

from pinnace_contract import codec
from pinnace_contract.ids import Digest, ModelName, VersionName
from pinnace_server.domain.lineage import Origin
from pinnace_server.errors import NotFound
from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.paging import NamedModel, Paged, VersionText
from pinnace_server.http.schemas import registry as bodies
from pinnace_server.http.schemas.body import Listed, listed
from pinnace_server.http.schemas.catalogue import Model, Version
from pinnace_server.service.conversions import ConversionRequest
from pinnace_server.service.services import Services

router = APIRouter(tags=["registry"])
PIECE_BYTES: Final = 256 * 1024
_VERSION: Final = "/models/{model}/versions/{version}"
_FILE: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "…"}}


@router.post("/models/{model}/archive", responses=errors(400, 401, 404, 409, 422, 503), summary="Archive a model")
def archive_model(served: Served, actor: Actor, model: NamedModel, why: bodies.Reason) -> Model:
    """Hide a model from lists and let nothing of it be assigned any more; nothing is deleted."""
    return Model.of(served.archive.put_model_away(model, actor, why.reason))


@router.post(
    "/models/{model}/unarchive", responses=errors(400, 401, 404, 422, 503), summary="Take a model out of the archive"
)
def unarchive_model(served: Served, actor: Actor, model: NamedModel, why: bodies.Reason) -> Model:
    """Show a model in lists again. Versions that were archived by themselves stay so."""
    return Model.of(served.archive.take_model_back(model, actor, why.reason))


@router.post(f"{_VERSION}/archive", responses=errors(400, 401, 404, 409, 422, 503), summary="Archive a version")
def archive(served: Served, actor: Actor, model: NamedModel, version: VersionText, why: bodies.Reason) -> Version:
    """Hide a version from lists and let it be assigned no more; nothing is deleted. What is in use is refused."""
    name = served.catalogue.version(model, version).version
    return _body(served, model, served.archive.put_away(model, name, actor, why.reason).version)


@router.post(
    f"{_VERSION}/unarchive", responses=errors(400, 401, 404, 422, 503), summary="Take a version out of the archive"
)
def unarchive(served: Served, actor: Actor, model: NamedModel, version: VersionText, why: bodies.Reason) -> Version:
    """Show a version in lists again, and let it be assigned."""
    name = served.catalogue.version(model, version).version
    return _body(served, model, served.archive.take_back(model, name, actor, why.reason).version)


@router.get(f"{_VERSION}/history", responses=errors(401, 404, 422, 503), summary="Show where a version was when")
def history(
    served: Served, _: Actor, model: NamedModel, version: VersionText, page: Paged
) -> Listed[bodies.DeviceStays]:
    """Return each device that ever kept a version, and when it served it, as its signed receipts say."""
    found = served.catalogue.stays(model, version, page)
    return listed([bodies.DeviceStays.of(device, stays) for device, stays in found.rows], found.total, page)


@router.get(f"{_VERSION}/origin", responses=errors(401, 404, 422, 503), summary="Show how a version was converted")
def origin(served: Served, _: Actor, model: NamedModel, version: VersionText) -> bodies.Origin:
    """Return what the converter was asked, what it was given, and what it said."""
    found = served.catalogue.version(model, version)
    known = served.catalogue.origin(model, found.version)
    files = _files(served, known, found.lineage.environment if found.lineage.environment_kept else None)
    return bodies.Origin.of(known, found.release, files, _why_not(known, files))


@router.get(
    f"{_VERSION}/origin/files/{{digest}}",
    response_class=StreamingResponse,
    responses={**errors(401, 404, 422, 503), 200: {"content": _FILE, "description": "The file, byte for byte."}},
    summary="Download a file that a version was converted from",
)
def origin_file(
    served: Served,
    _: Actor,
    model: NamedModel,
    version: VersionText,
    digest: Annotated[str, Path(description="The file's digest.", pattern="^[0-9a-f]{64}$")],
) -> StreamingResponse:
    """Return a file that was kept: the source model, its data, a ready variant, an asset, the environment's lock."""
    if not any(each.digest == digest and each.kept for each in origin(served, _, model, version).files):
        raise NotFound("kept file of this version", digest)
    stream = served.world.blobs.open(Digest(digest))
    size_bytes = served.world.blobs.size(Digest(digest))
    headers = {"Content-Length": str(size_bytes)}
    return StreamingResponse(_pieces(stream), media_type="application/octet-stream", headers=headers)


def _body(served: Services, model: ModelName, version: VersionName) -> Version:
    family = served.catalogue.model(model)
    aliases = sorted(str(alias) for alias, target in family.aliases.items() if target == version)
    return Version.of(served.catalogue.version(model, version), aliases)


def _files(served: Services, origin: Origin, environment: Digest | None) -> list[bodies.OriginFile]:
    blobs, found = served.world.blobs, []
    converted = codec.from_json(ConversionRequest, origin.request.encode()).files() if origin.request else {}
    for name, digest in converted.items():
        here = origin.kept and blobs.has(digest)
        size_bytes = blobs.size(digest) if here else None
        found.append(bodies.OriginFile(name=name, digest=digest, size_bytes=size_bytes, kept=here))
    if environment is not None and blobs.has(environment):
        size_bytes = blobs.size(environment)
        found.append(bodies.OriginFile(name="environment", digest=environment, size_bytes=size_bytes, kept=True))
    return found


def _why_not(origin: Origin, files: list[bodies.OriginFile]) -> str:
    if not origin.request and not origin.report:
        return "how it was converted is not known: it was registered before the server kept that"
    if not origin.request:
        return "it was converted elsewhere and registered as a draft: the request is not known here"
    missing = [each.name for each in files if not each.kept]
    return f"its files were not kept: {', '.join(missing)}" if missing else ""


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece
