"""Jobs: an uploaded model on its way to a version, one conversion at a time, with progress and a way to stop it."""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final, Protocol

from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.fields import limited
from pinnace_contract.ids import Digest, ModelName, VersionName
from pinnace_contract.latest import AssetKind, Precision
from pinnace_converters import declaration
from pinnace_converters.declaration import Declaration
from pinnace_converters.draft import BLOBS_FOLDER, DRAFT_FILE, Draft
from pinnace_converters.errors import DeclarationInvalid
from pinnace_converters.options import AGREEMENT_MIN
from pinnace_server.domain.card import CARD_CHARS_MAX, FIELD_CHARS_MAX, FIELDS_MAX
from pinnace_server.domain.lineage import NOTHING_SAID, Lineage
from pinnace_server.domain.queries import Listing, Page
from pinnace_server.domain.records import Event, EventKind, Job, JobId, JobState, Severity
from pinnace_server.errors import Code, Conflict, NotFound, Refused, ServerError
from pinnace_server.service.catalogue import Catalogue
from pinnace_server.service.papers import Papers
from pinnace_server.service.ports import Conversion, World

QUEUE_MAX: Final = 32
DETAIL_CHARS_MAX: Final = 4000
STOP_WAIT_S: Final = 30.0
_ENVIRONMENT_FILE: Final = "environment"
_NO_DECLARATION: Final = Declaration()
_SAFE_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetUpload:
    """An uploaded file that the release carries besides weights."""

    name: str = limited(chars=256)
    kind: AssetKind
    upload: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CardField:
    """One named text of the model card."""

    name: str = limited(chars=64)
    text: str = limited(chars=FIELD_CHARS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """What to convert: uploads by digest, and the converter's options; and what is kept with the version.

    ``keep_files`` false: the uploads are forgotten after the conversion, which can then not be run again.
    """

    KIND: ClassVar[str] = "conversion-request"
    BYTES_MAX: ClassVar[int] = 1024 * 1024

    source: Digest
    source_name: str = limited("model.onnx", chars=256)
    calibration: Digest
    heldout: Digest | None = None
    declaration: Declaration = _NO_DECLARATION
    precisions: tuple[Precision, ...] = limited((Precision.FP32, Precision.INT8_STATIC), largest=8, smallest=1)
    variants: tuple[Digest, ...] = limited((), largest=8)
    assets: tuple[AssetUpload, ...] = limited((), largest=64)
    force: str = limited("", chars=512)
    agreement_min: float = limited(AGREEMENT_MIN, smallest=0, largest=1)
    accuracy_loss_max: float | None = limited(None, smallest=0, largest=1)
    seed: int = limited(0, smallest=0, largest=2**31)
    card: str = limited("", chars=CARD_CHARS_MAX)
    card_fields: tuple[CardField, ...] = limited((), largest=FIELDS_MAX)
    lineage: Lineage = NOTHING_SAID
    keep_files: bool = True

    @property
    def source_file(self) -> str:
        """The source's name in the job's folder."""
        return f"source-{_SAFE_NAME.sub('-', self.source_name)[-100:]}"

    @property
    def calibration_file(self) -> str:
        """The calibration data's name in the job's folder."""
        return "calibration.npz"

    @property
    def heldout_file(self) -> str:
        """The held-out data's name in the job's folder."""
        return "heldout.npz"

    def papers(self) -> Papers:
        """Return what is kept with the version, but for the files and the report."""
        lineage = replace(self.lineage, source=self.source, source_name=self.source_name)
        return Papers(
            card=self.card,
            card_fields={each.name: each.text for each in self.card_fields},
            lineage=lineage,
            request=codec.to_json(replace(self, card="", card_fields=(), lineage=NOTHING_SAID)).decode(),
            kept=self.keep_files,
        )

    def kept_files(self) -> dict[str, Digest]:
        """Return the uploads that are kept with the version, by their name in the job's folder."""
        environment = self.lineage.environment if self.lineage.environment_kept else None
        named = {_ENVIRONMENT_FILE: environment} if environment is not None else {}
        return (self.files() if self.keep_files else {}) | named

    def files(self) -> dict[str, Digest]:
        """Return every upload that is converted by its name in the job's folder."""
        files = {self.source_file: self.source, self.calibration_file: self.calibration}
        if self.heldout is not None:
            files[self.heldout_file] = self.heldout
        files |= {f"variant-{n}.tflite": digest for n, digest in enumerate(self.variants)}
        return files | {f"asset-{n}": asset.upload for n, asset in enumerate(self.assets)}


class Uploads(Protocol):
    """Files that wait in quarantine."""

    def path(self, digest: Digest) -> Path: ...
    def forget(self, digest: Digest) -> None: ...


class ConversionFailed(Refused):
    """The converter refused the model. ``reason`` is its own code, ``report`` says what was tried (JSON, or empty)."""

    code = Code.MODEL_REFUSED

    def __init__(self, message: str, *, reason: str, report: str) -> None:
        self.reason, self.report = reason, report
        super().__init__(message)


class Conversions:
    """Takes jobs and works them off in a thread of its own."""

    def __init__(
        self, world: World, catalogue: Catalogue, conversion: Conversion, uploads: Uploads, folder: Path
    ) -> None:
        self._world = world
        self._catalogue = catalogue
        self._conversion = conversion
        self._uploads = uploads
        self._folder = folder
        self._wake = threading.Condition()
        self._cancelled: set[JobId] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="conversions", daemon=True)

    def start(self) -> None:
        """Begin to work; what a server that was killed left running is begun again."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True)
        with self._world.store.write() as tables:
            for job in tables.jobs.unfinished():
                tables.jobs.save(replace(job, state=JobState.QUEUED, stage="", share=0.0))
        self._thread.start()

    def stop(self) -> None:
        """End the conversion at hand (it is begun again at the next start) and the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(STOP_WAIT_S)

    def submit(self, model: ModelName, version: str, request: ConversionRequest, actor: str) -> Job:
        """Take a job.

        Raises:
            NotFound: the model, or an upload. Conflict: the version is there or on its way. Refused
        """
        name = VersionName(version)
        papers, environment = request.papers(), request.kept_files().get(_ENVIRONMENT_FILE)
        if environment is not None:
            papers = replace(papers, files={environment: self._uploads.path(environment)})
        self._catalogue.check_new(model, name, papers)
        for digest in (request.files() | request.kept_files()).values():
            self._uploads.path(digest)
        job = Job(
            id=JobId(f"j-{self._world.chance.secret_hex(5)}"),
            model=model,
            version=name,
            state=JobState.QUEUED,
            request=_written(request),
            actor=actor,
            created_at_s=self._world.clock.now(),
        )
        with self._world.store.write() as tables:
            unfinished = tables.jobs.unfinished()
            if any((each.model, each.version) == (model, name) for each in unfinished):
                raise Conflict(f"version {version} of {model} is being converted already", code=Code.EXISTS)
            if len(unfinished) >= QUEUE_MAX:
                raise Conflict(f"{QUEUE_MAX} conversions are waiting already", hint="wait, or cancel some")
            tables.jobs.save(job)
            tables.events.append(_event(job, EventKind.JOB_STARTED, f"conversion of {model} {version} begun"))
        with self._wake:
            self._wake.notify()
        self._told(job)
        return job

    def job(self, job: JobId) -> Job:
        """Return a job.

        Raises:
            NotFound
        """
        with self._world.store.read() as tables:
            found = tables.jobs.get(job)
        if found is None:
            raise NotFound("job", job[:64])
        return found

    def listing(self, page: Page, model: ModelName | None = None) -> Listing[Job]:
        """Return jobs, the newest first."""
        with self._world.store.read() as tables:
            return tables.jobs.listing(page, model)

    def cancel(self, job: JobId, actor: str) -> Job:
        """Stop a job; nothing of it is kept.

        Raises:
            NotFound. Conflict: it has ended already.
        """
        found = self.job(job)
        if found.state not in (JobState.QUEUED, JobState.RUNNING):
            raise Conflict(f"job {job} is {found.state} already", hint="there is nothing to cancel")
        self._cancelled.add(job)
        with self._world.store.write() as tables:
            newest = tables.jobs.get(job)
            if newest is not None and newest.state is JobState.QUEUED:
                found = replace(newest, state=JobState.CANCELLED, ended_at_s=self._world.clock.now())
                tables.jobs.save(found)
            said = f"conversion of {found.model} {found.version} cancelled"
            tables.events.append(
                replace(_event(found, EventKind.JOB_CANCELLED, said), at_s=self._world.clock.now(), actor=actor)
            )
        self._told(found)
        return found

    def work_once(self) -> bool:
        """Do the oldest waiting job; tell whether there was one."""
        with self._world.store.write() as tables:
            waiting = [job for job in tables.jobs.unfinished() if job.state is JobState.QUEUED]
            if not waiting:
                return False
            job = replace(waiting[0], state=JobState.RUNNING, stage="starting")
            tables.jobs.save(job)
        self._told(job)
        ended = self._done(job)
        if ended is not None:
            self._save(ended)
        self._cancelled.discard(job.id)
        return True

    def _done(self, job: Job) -> Job | None:
        """Convert and register; return the job as it ended, or None where the server ends first."""
        folder = self._folder / job.id
        report = ""
        try:
            request = codec.from_json(ConversionRequest, job.request.encode())
            self._lay_out(request, folder)
            report = self._conversion.run(job.request, folder, self._teller(job), self._stopper(job))
            draft = Draft.from_json((folder / "draft" / DRAFT_FILE).read_bytes())
            files = {path_digest(path): path for path in (folder / "draft" / BLOBS_FOLDER).iterdir()}
            kept = {digest: folder / name for name, digest in request.kept_files().items()}
            self._catalogue.register(
                model=job.model,
                version=job.version,
                draft=draft,
                files=files,
                actor=job.actor,
                papers=replace(request.papers(), report=report, files=kept),
            )
            for digest in (request.files() | request.kept_files()).values():
                self._uploads.forget(digest)
        except (ServerError, ContractError) as error:
            if self._stopping and job.id not in self._cancelled:
                return None
            return self._failed(job, error)
        except Exception as error:
            _log.exception("job %s failed", job.id)
            return self._failed(job, error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return replace(self.job(job.id), state=JobState.DONE, stage="done", share=1.0, report=report)

    def _failed(self, job: Job, error: Exception) -> Job:
        if job.id in self._cancelled:
            return replace(self.job(job.id), state=JobState.CANCELLED)
        ours = not isinstance(error, ServerError | ContractError)
        detail = "the conversion failed for a reason of this server's own; see its log" if ours else str(error)
        return replace(
            self.job(job.id),
            state=JobState.FAILED,
            detail=detail[:DETAIL_CHARS_MAX],
            report=error.report if isinstance(error, ConversionFailed) else "",
        )

    def _save(self, ended: Job) -> None:
        now = self._world.clock.now()
        job = replace(ended, ended_at_s=now)
        with self._world.store.write() as tables:
            tables.jobs.save(job)
            if job.state is JobState.FAILED:
                summary = f"{job.model} {job.version} was refused: {job.detail[:300]}"
                tables.events.append(
                    replace(_event(job, EventKind.VERSION_REFUSED, summary), at_s=now, severity=Severity.ERROR)
                )
        self._told(job)

    def _lay_out(self, request: ConversionRequest, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        for name, digest in (request.files() | request.kept_files()).items():
            (folder / name).hardlink_to(self._uploads.path(digest))

    def _teller(self, job: Job) -> Callable[[str, float], None]:
        said = ("", -1.0)

        def tell(stage: str, share: float) -> None:
            nonlocal said
            if (stage, share) == said:
                return
            said = stage, share
            with self._world.store.write() as tables:
                newest = tables.jobs.get(job.id)
                if newest is not None:
                    tables.jobs.save(replace(newest, stage=stage[:200], share=share))
            self._told(job)

        return tell

    def _stopper(self, job: Job) -> Callable[[], bool]:
        return lambda: self._stopping or job.id in self._cancelled

    def _work(self) -> None:
        while True:
            try:
                if not self._stopping and self.work_once():
                    continue
            except Exception:
                _log.exception("the conversions' thread failed and goes on")
            with self._wake:
                if self._stopping:
                    return
                self._wake.wait(1.0)

    def _told(self, job: Job) -> None:
        self._world.changes.notify(["jobs", f"job:{job.id}", f"model:{job.model}", "events"])


def read_declaration(tree: Mapping[str, object]) -> Declaration:
    """Read what a developer declared about a model, strictly: it was written by hand.

    Raises:
        Refused
    """
    try:
        return declaration.parse(codec.canonical_json(tree))
    except DeclarationInvalid as error:
        raise Refused(f"declaration: {error}") from error


def read_draft(tree: Mapping[str, object]) -> Draft:
    """Read the content of a ``draft.json``.

    Raises:
        ContractError: not a draft.
    """
    return codec.from_plain(Draft, tree)


def draft_papers(draft: Draft, *, card: str, card_fields: Mapping[str, str], lineage: Lineage) -> Papers:
    """Return what comes with a version that is made of a draft: its source is what the draft itself says."""
    source = draft.report.source
    return Papers(
        card=card,
        card_fields=card_fields,
        lineage=replace(lineage, source=source.digest, source_name=source.name),
        report=json.dumps(codec.plain(draft.report), ensure_ascii=False),
    )


def path_digest(path: Path) -> Digest:
    """Return the digest that a draft's blob is named after; ``Catalogue.register`` checks that it is right."""
    return Digest(path.name)


def _written(request: ConversionRequest) -> str:
    try:
        return codec.to_json(request).decode()
    except ContractError as error:
        raise Refused(f"the request cannot be taken: {error}") from error


def _event(job: Job, kind: EventKind, summary: str) -> Event:
    return Event(
        at_s=job.created_at_s,
        kind=kind,
        actor=job.actor,
        summary=summary,
        model=job.model,
        version=job.version,
        data={"job": job.id},
    )
