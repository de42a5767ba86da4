"""Uploads and conversions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from pinnace_contract.ids import Digest
from pinnace_server.domain.records import JobId
from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.paging import ModelFilter, Paged, model_name
from pinnace_server.http.schemas import catalogue as bodies
from pinnace_server.http.schemas.body import Listed, listed

router = APIRouter(tags=["conversions"])
UPLOADS = "/uploads"
_JOB = Path(description="A job's id.", max_length=64)


@router.post(
    UPLOADS,
    status_code=201,
    responses=errors(400, 401, 413, 422, 503, 507),
    summary="Upload a file into quarantine",
    openapi_extra={
        "requestBody": {
            "description": "The file itself.",
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}, "example": "…"}},
        }
    },
)
async def upload(
    served: Served,
    _: Actor,
    request: Request,
    digest: Annotated[
        str | None, Query(description="What its SHA-256 should be; checked.", pattern="^[0-9a-f]{64}$")
    ] = None,
) -> bodies.Upload:
    """Receive a model, data, or a draft's blob. It is kept for a day, under its digest."""
    receiving = await run_in_threadpool(served.receive_upload)
    size = 0
    try:
        async for piece in request.stream():
            if piece:
                size += len(piece)
                await run_in_threadpool(receiving.write, piece)
        found = await run_in_threadpool(receiving.finish, Digest(digest) if digest else None)
    finally:
        await run_in_threadpool(receiving.abandon)
    return bodies.Upload(digest=found, size_bytes=size)


@router.get("/jobs", responses=errors(401, 404, 422, 503), summary="List conversions")
def jobs(served: Served, _: Actor, page: Paged, model: ModelFilter = None) -> Listed[bodies.Job]:
    """Return conversions, the newest first."""
    found = served.conversions.listing(page, model_name(model) if model else None)
    return listed([bodies.Job.of(job) for job in found.rows], found.total, page)


@router.get("/jobs/{job}", responses=errors(401, 404, 422, 503), summary="Show a conversion")
def job(served: Served, _: Actor, job: Annotated[str, _JOB]) -> bodies.Job:
    """Return how far a conversion is, and what came of it."""
    return bodies.Job.of(served.conversions.job(JobId(job)))


@router.post("/jobs/{job}/cancel", responses=errors(401, 404, 409, 422, 503), summary="Cancel a conversion")
def cancel(served: Served, actor: Actor, job: Annotated[str, _JOB]) -> bodies.Job:
    """Stop a conversion; nothing of it is kept."""
    return bodies.Job.of(served.conversions.cancel(JobId(job), actor))
