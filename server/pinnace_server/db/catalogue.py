"""Models, versions and the blobs that releases list, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, case, func
from sqlmodel import Session, col, select

from pinnace_contract.ids import DeviceId, Digest, ModelName, ReleaseId, VersionName
from pinnace_contract.latest import Blob, Outcome, WithdrawMode, WithdrawnRelease
from pinnace_server.db import spelling
from pinnace_server.db.batches import in_batches
from pinnace_server.db.rows import Rows, marks, run
from pinnace_server.db.spelling import Stored, there
from pinnace_server.db.tables import AliasRow, AssignmentRow, BlobRow, ModelRow, OriginRow, ReceiptRow, VersionRow
from pinnace_server.domain.lineage import Origin
from pinnace_server.domain.queries import Listing, Page
from pinnace_server.domain.records import AliasName, Model, Version, Withdrawal

_MODELS: Final = Rows(ModelRow)
_ALIASES: Final = Rows(AliasRow)
_VERSIONS: Final = Rows(VersionRow)
_ORIGINS: Final = Rows(OriginRow)
_BLOBS: Final = Rows(BlobRow)
_WITHDRAWN: Final = (
    "model, release, withdrawn, withdrawn_at_s, sequence FROM versions WHERE withdrawn IS NOT NULL AND model IN"
)


class SqlModels:
    """``ports.Models``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, name: ModelName) -> Model | None:
        row = self._session.get(ModelRow, name)
        return self._models([row])[0] if row else None

    def add(self, model: Model) -> None:
        _MODELS.add(
            self._session,
            name=model.name,
            description=model.description,
            created_at_s=model.created_at_s,
            updated_at_s=model.updated_at_s,
            card_required=spelling.words(model.card_required),
            archived_at_s=model.archived_at_s,
        )

    def require_card(self, name: ModelName, fields: Sequence[str]) -> None:
        row = self._session.get_one(ModelRow, name)
        row.card_required = spelling.words(fields)
        self._session.flush()

    def archive(self, name: ModelName, at_s: float | None) -> None:
        row = self._session.get_one(ModelRow, name)
        row.archived_at_s = at_s
        self._session.flush()

    def describe(self, name: ModelName, description: str) -> None:
        row = self._session.get_one(ModelRow, name)
        row.description = description
        self._session.flush()

    def listing(self, page: Page, text: str = "", *, archived: bool = True) -> Listing[Model]:
        where: list[ColumnElement[bool]] = []
        if text:
            where.append(col(ModelRow.name).contains(text, autoescape=True))
        if not archived:
            where.append(col(ModelRow.archived_at_s).is_(None))
        total = self._session.exec(select(func.count()).select_from(ModelRow).where(*where)).one()
        rows = self._session.exec(
            select(ModelRow).where(*where).order_by(col(ModelRow.name)).limit(page.limit).offset(page.offset)
        ).all()
        return Listing(rows=tuple(self._models(rows)), total=total)

    def point(self, name: ModelName, alias: AliasName, version: VersionName) -> None:
        _ALIASES.put(self._session, model=name, alias=alias, version=version)

    def unpoint(self, name: ModelName, alias: AliasName) -> bool:
        row = self._session.get(AliasRow, (name, alias))
        if row is None:
            return False
        self._session.delete(row)
        self._session.flush()
        return True

    def _models(self, rows: Iterable[ModelRow]) -> list[Model]:
        rows = list(rows)
        names = [row.name for row in rows]
        aliases: dict[str, dict[AliasName, VersionName]] = {name: {} for name in names}
        for alias in self._session.exec(
            select(AliasRow).where(col(AliasRow.model).in_(names)).order_by(col(AliasRow.alias))
        ):
            aliases[alias.model][AliasName(alias.alias)] = VersionName(alias.version)
        shown_sequence = case((col(VersionRow.archived_at_s).is_(None), col(VersionRow.sequence)))
        newest: dict[str, tuple[int, int | None]] = {
            model: (versions, sequence)
            for model, versions, sequence in self._session.exec(
                select(VersionRow.model, func.count(), func.max(shown_sequence))
                .where(col(VersionRow.model).in_(names))
                .group_by(VersionRow.model)
            )
        }
        latest = {
            model: VersionName(version)
            for model, version, sequence in self._session.exec(
                select(VersionRow.model, VersionRow.version, VersionRow.sequence).where(
                    col(VersionRow.model).in_(names),
                    col(VersionRow.sequence).in_([sequence for _, sequence in newest.values()]),
                )
            )
            if newest[model][1] == sequence
        }
        return [
            Model(
                name=ModelName(row.name),
                description=row.description,
                created_at_s=row.created_at_s,
                updated_at_s=row.updated_at_s,
                aliases=aliases[row.name],
                versions=newest[row.name][0] if row.name in newest else 0,
                latest=latest.get(row.name),
                card_required=tuple(row.card_required.split()),
                archived_at_s=row.archived_at_s,
            )
            for row in rows
        ]


class SqlVersions:
    """``ports.Versions``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, model: ModelName, version: VersionName) -> Version | None:
        return _version(self._session.get(VersionRow, (model, version)))

    def of_release(self, release: ReleaseId) -> Version | None:
        return next(map(_version, _VERSIONS.where(self._session, "release = ? LIMIT 1", release)), None)

    def add(self, version: Version) -> None:
        _VERSIONS.add(
            self._session,
            model=version.model,
            version=version.version,
            release=version.release,
            sequence=version.sequence,
            epoch=version.epoch,
            size_bytes=version.size_bytes,
            body=spelling.body(Stored(release=version.body)),
            created_at_s=version.created_at_s,
            actor=version.actor,
            card=version.card,
            share_below=version.share_below,
            **_withdrawal_columns(version.withdrawal),
            card_fields=spelling.text_map(version.card_fields),
            lineage=spelling.body(Stored(lineage=version.lineage)),
            archived_at_s=version.archived_at_s,
        )
        for variant in version.body.variants:
            for blob in version.body.blobs(variant):
                self.list_blob(blob)
        self._session.get_one(ModelRow, version.model).updated_at_s = version.created_at_s
        self._session.flush()

    def archive(self, model: ModelName, version: VersionName, at_s: float | None) -> None:
        row = self._session.get_one(VersionRow, (model, version))
        row.archived_at_s = at_s
        self._session.flush()

    def withdraw(self, model: ModelName, version: VersionName, withdrawal: Withdrawal) -> None:
        row = self._session.get_one(VersionRow, (model, version))
        for name, value in _withdrawal_columns(withdrawal).items():
            setattr(row, name, value)
        self._session.flush()

    def withdrawn(self, models: Iterable[ModelName]) -> Sequence[WithdrawnRelease]:
        found: list[tuple[float, str, int, WithdrawnRelease]] = []
        for some in in_batches(models):
            sql = f"SELECT {_WITHDRAWN} ({marks(some)})"
            for model, release, mode, at_s, sequence in run(self._session, sql, some):
                each = WithdrawnRelease(model=ModelName(model), release=ReleaseId(release), mode=WithdrawMode(mode))
                found.append((-at_s, model, -sequence, each))
        return [each for *_, each in sorted(found, key=lambda row: row[:3])]

    def least_epoch(self, model: ModelName) -> int:
        highest = self._session.exec(select(func.max(VersionRow.least_next_epoch)).where(VersionRow.model == model))
        return highest.one() or 0

    def origin(self, model: ModelName, version: VersionName) -> Origin | None:
        row = _ORIGINS.get(self._session, model, version)
        return _origin(row) if row else None

    def add_origin(self, origin: Origin) -> None:
        _ORIGINS.add(
            self._session,
            model=origin.model,
            version=origin.version,
            request=origin.request,
            report=origin.report,
            kept=origin.kept,
        )

    def wanted_on(self, releases: Iterable[ReleaseId]) -> Sequence[DeviceId]:
        found: set[str] = set()
        for some in in_batches(releases):
            rows = self._session.exec(
                select(AssignmentRow.device).where(col(AssignmentRow.release).in_(some)).distinct()
            )
            found.update(rows)
        return [DeviceId(device) for device in sorted(found)]

    def had_by(self, model: ModelName, version: VersionName, page: Page) -> Listing[DeviceId]:
        where: list[ColumnElement[bool]] = [
            col(ReceiptRow.model) == model,
            col(ReceiptRow.version) == version,
            col(ReceiptRow.outcome) == Outcome.COMMITTED.value,
            col(ReceiptRow.counted).is_(True),
        ]
        total = self._session.exec(select(func.count(func.distinct(ReceiptRow.device))).where(*where)).one()
        rows = self._session.exec(
            select(ReceiptRow.device)
            .where(*where)
            .distinct()
            .order_by(col(ReceiptRow.device))
            .limit(page.limit)
            .offset(page.offset)
        )
        return Listing(rows=tuple(DeviceId(row) for row in rows), total=total)

    def listing(self, model: ModelName, page: Page, *, archived: bool = True) -> Listing[Version]:
        where: list[ColumnElement[bool]] = [col(VersionRow.model) == model]
        if not archived:
            where.append(col(VersionRow.archived_at_s).is_(None))
        total = self._session.exec(select(func.count()).select_from(VersionRow).where(*where)).one()
        rows = self._session.exec(
            select(VersionRow)
            .where(*where)
            .order_by(col(VersionRow.sequence).desc())
            .limit(page.limit)
            .offset(page.offset)
        )
        return Listing(rows=tuple(there(_version(row)) for row in rows), total=total)

    def next_sequence(self, model: ModelName) -> int:
        highest = self._session.exec(select(func.max(VersionRow.sequence)).where(VersionRow.model == model)).one()
        return (highest or 0) + 1

    def blob(self, digest: Digest) -> Blob | None:
        row = _BLOBS.get(self._session, digest)
        return spelling.read_body(row.body).blob if row else None

    def list_blob(self, blob: Blob) -> None:
        self._session.merge(BlobRow(digest=blob.digest, body=spelling.body(Stored(blob=blob))))
        self._session.flush()


def _version(row: VersionRow | None) -> Version | None:
    if row is None:
        return None
    return Version(
        model=ModelName(row.model),
        version=VersionName(row.version),
        release=ReleaseId(row.release),
        body=there(spelling.read_body(row.body).release),
        size_bytes=row.size_bytes,
        created_at_s=row.created_at_s,
        actor=row.actor,
        card=row.card,
        share_below=row.share_below,
        withdrawal=_withdrawal(row),
        card_fields=spelling.read_text_map(row.card_fields),
        lineage=spelling.read_body(row.lineage).lineage,
        archived_at_s=row.archived_at_s,
    )


def _withdrawal_columns(withdrawal: Withdrawal | None) -> dict[str, str | float | int | None]:
    return {
        "withdrawn": withdrawal.mode.value if withdrawal else None,
        "withdrawn_at_s": withdrawal.at_s if withdrawal else None,
        "withdrawn_by": withdrawal.actor if withdrawal else "",
        "withdrawn_reason": withdrawal.reason if withdrawal else "",
        "least_next_epoch": withdrawal.least_next_epoch if withdrawal else 0,
    }


def _withdrawal(row: VersionRow) -> Withdrawal | None:
    if row.withdrawn is None:
        return None
    return Withdrawal(
        mode=WithdrawMode(row.withdrawn),
        at_s=row.withdrawn_at_s or 0.0,
        actor=row.withdrawn_by,
        reason=row.withdrawn_reason,
        least_next_epoch=row.least_next_epoch,
    )


def _origin(row: OriginRow) -> Origin:
    return Origin(
        model=ModelName(row.model),
        version=VersionName(row.version),
        request=row.request,
        report=row.report,
        kept=row.kept,
    )
