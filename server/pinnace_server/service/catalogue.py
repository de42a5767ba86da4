"""Models and versions: what there is to assign. A version is registered once and never changes.

``aliases`` says what may be assigned by name, ``archive`` what may not be assigned any more.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from pinnace_contract import codec, ids
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import DeviceId, Digest, ModelName, VersionName
from pinnace_contract.latest import Baseline, Blob, Release
from pinnace_converters import chunks
from pinnace_server.domain import card
from pinnace_server.domain.lineage import Origin
from pinnace_server.domain.queries import Listing, Page, ReceiptQuery
from pinnace_server.domain.records import AliasName, Event, EventKind, Model, Version
from pinnace_server.domain.stays import Stay, stays
from pinnace_server.errors import Code, Conflict, NotFound, Refused
from pinnace_server.service.papers import NO_PAPERS, Papers, check
from pinnace_server.service.ports import Tables, World

RECEIPTS_MAX: Final = 10_000  # of one device for one model that history looks at; the newest
DESCRIPTION_CHARS_MAX: Final = 1024
BLOBS_BYTES_MAX: Final = 4 * 1024**3  # of one version


class Draft(Protocol):
    """A converted model that only lacks its place in the catalogue."""

    def release(
        self, *, model: ModelName, version: VersionName, sequence: int, epoch: int, created_at_s: int
    ) -> Release: ...


class Catalogue:
    """Reads and changes the catalogue."""

    def __init__(self, world: World) -> None:
        self._world = world
        # Sequence numbers are taken, signed and saved one version at a time.
        self._registering = threading.Lock()

    def models(self, page: Page, text: str = "", *, archived: bool = False) -> Listing[Model]:
        """Return models by name; those that are archived only when asked."""
        with self._world.store.read() as tables:
            return tables.models.listing(page, text, archived=archived)

    def model(self, name: ModelName) -> Model:
        """Return one model.

        Raises:
            NotFound
        """
        with self._world.store.read() as tables:
            return found_model(tables, name)

    def add_model(self, name: str, description: str, actor: str) -> Model:
        """Make a model, or return the one that is there if its description is the same.

        Raises:
            Refused: the name is not one. Conflict: another model has it.
        """
        model = checked_name(name)
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            had = tables.models.get(model)
            if had is not None:
                if had.description == description:
                    return had
                raise Conflict(
                    f"model {name!r} is there already, with another description",
                    hint="change its description instead, or choose another name",
                    code=Code.EXISTS,
                )
            tables.models.add(Model(name=model, description=description, created_at_s=now, updated_at_s=now))
            tables.events.append(
                Event(at_s=now, kind=EventKind.MODEL_ADDED, actor=actor, summary=f"model {name} added", model=model)
            )
            added = found_model(tables, model)
        self._world.changes.notify(["models", f"model:{model}", "events"])
        return added

    def describe(self, name: ModelName, description: str) -> Model:
        """Change what a model's description says."""
        with self._world.store.write() as tables:
            found_model(tables, name)
            tables.models.describe(name, description)
            described = found_model(tables, name)
        self._world.changes.notify([f"model:{name}"])
        return described

    def require_card(self, name: ModelName, fields: Sequence[str], actor: str) -> Model:
        """Say which fields the card of a new version must have. Versions that are there stay as they are.

        Raises:
            NotFound, Refused
        """
        required = tuple(dict.fromkeys(fields))
        if len(required) > card.FIELDS_MAX:
            raise Refused(f"expected at most {card.FIELDS_MAX} required fields, found {len(required)}")
        for each in required:
            if wrong := card.wrong_with_name(each):
                raise Refused(f"required fields of the card: {wrong}")
        with self._world.store.write() as tables:
            if found_model(tables, name).card_required != required:
                tables.models.require_card(name, required)
                tables.events.append(
                    Event(
                        at_s=self._world.clock.now(),
                        kind=EventKind.CARD_REQUIRED,
                        actor=actor,
                        summary=f"the card of a new version of {name} must have {', '.join(required) or 'no field'}",
                        model=name,
                        data={"fields": " ".join(required)},
                    )
                )
            changed = found_model(tables, name)
        self._world.changes.notify([f"model:{name}", "events"])
        return changed

    def versions(self, model: ModelName, page: Page, *, archived: bool = False) -> Listing[Version]:
        """Return a model's versions, the newest first; those that are archived only when asked."""
        with self._world.store.read() as tables:
            found_model(tables, model)
            return tables.versions.listing(model, page, archived=archived)

    def origin(self, model: ModelName, version: str) -> Origin:
        """Return how a version was converted, as far as it is known.

        Raises:
            NotFound
        """
        with self._world.store.read() as tables:
            found = found_version(tables, model, version)
            known = tables.versions.origin(model, found.version)
        return known or Origin(model=model, version=found.version)

    def version(self, model: ModelName, version: str) -> Version:
        """Return one version, by name or, with ``@`` before it, by alias.

        Raises:
            NotFound
        """
        with self._world.store.read() as tables:
            return found_version(tables, model, version)

    def stays(self, model: ModelName, version: str, page: Page) -> Listing[tuple[DeviceId, list[Stay]]]:
        """Return when each device that ever kept a version served it, as its receipts say; the devices by id.

        Raises:
            NotFound
        """
        of_model = ReceiptQuery(model=model, page=Page(limit=RECEIPTS_MAX))
        with self._world.store.read() as tables:
            name = found_version(tables, model, version).version
            devices = tables.versions.had_by(model, name, page)
            rows = [
                (device, stays(tables.receipts.listing(replace(of_model, device=device)).rows))
                for device in devices.rows
            ]
        kept = ((device, [stay for stay in each if stay.version == name]) for device, each in rows)
        return Listing(rows=tuple(kept), total=devices.total)

    def release_file(self, model: ModelName, version: str) -> bytes:
        """Return the signed release file."""
        found = self.version(model, version)
        return self._world.blobs.read(Digest(found.release))

    def outcomes(self, model: ModelName) -> Mapping[tuple[VersionName, str], int]:
        """Count receipts by (version, outcome)."""
        with self._world.store.read() as tables:
            return tables.receipts.outcomes(model)

    def register(
        self,
        *,
        model: ModelName,
        version: VersionName,
        draft: Draft,
        files: Mapping[Digest, Path],
        actor: str,
        papers: Papers = NO_PAPERS,
    ) -> Version:
        """Make a draft a version: store its blobs, sign its release, list it. ``papers`` are kept with it, unsigned.

        ``files`` holds the blobs that are not in the store yet. A version that stopped half-way leaves blobs that
        nobody refers to and a signed release that nobody assigns; registering it again is safe.

        Raises:
            NotFound: the model. Conflict: the version is there, or the model is archived. SigningRefused
            Refused: a blob is missing or not what its digest says, or the papers will not do.
        """
        with self._registering:
            with self._world.store.read() as tables:
                release = self._numbered(tables, model, version, draft)
                check(found_model(tables, model), papers)
            self._store_blobs(release, files)
            for digest, path in papers.files.items():
                self._store(digest, path)
            data = _written(release)
            release_id = self._world.signing.add_release(data)
            self._world.blobs.add(data)
            added = Version(
                model=model,
                version=version,
                release=release_id,
                body=release,
                size_bytes=len(data),
                created_at_s=self._world.clock.now(),
                actor=actor,
                card=papers.card,
                card_fields=papers.card_fields,
                lineage=papers.lineage,
                share_below=self._share_below(release),
            )
            with self._world.store.write() as tables:
                tables.versions.add(added)
                if papers.request or papers.report:
                    tables.versions.add_origin(
                        Origin(
                            model=model,
                            version=version,
                            request=papers.request,
                            report=papers.report,
                            kept=papers.kept,
                        )
                    )
                tables.versions.list_blob(chunks.cut(data))
                tables.events.append(_added(added))
        for topic, payload in self._world.signing.image_metadata():
            self._world.publisher.publish(topic, payload, retained=True)
        self._world.changes.notify(["models", f"model:{model}", "events"])
        return added

    def check_new(self, model: ModelName, version: VersionName, papers: Papers) -> None:
        """Make sure that a version can be added.

        Raises:
            NotFound: the model. Conflict: the version is there, or the model is archived.
            Refused: not a version's name, or the papers will not do.
        """
        if not ids.fits(VersionName, version):
            raise Refused(
                f"{version[:70]!r} is not a version's name",
                hint="use letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit",
            )
        with self._world.store.read() as tables:
            _free(tables, model, version)
            check(found_model(tables, model), papers)

    def _numbered(self, tables: Tables, model: ModelName, version: VersionName, draft: Draft) -> Release:
        _free(tables, model, version)
        newest = tables.versions.listing(model, Page(limit=1)).rows
        return draft.release(
            model=model,
            version=version,
            sequence=tables.versions.next_sequence(model),
            epoch=max(newest[0].epoch if newest else 0, tables.versions.least_epoch(model)),
            created_at_s=int(self._world.clock.now()),
        )

    def _store_blobs(self, release: Release, files: Mapping[Digest, Path]) -> None:
        for blob in _blobs_of(release):
            path = files.get(blob.digest)
            if path is not None:
                self._store(blob.digest, path)
            if not self._world.blobs.has(blob.digest) or self._world.blobs.size(blob.digest) != blob.size_bytes:
                raise Refused(
                    f"blob {blob.digest[:12]}… of {blob.size_bytes} bytes is missing",
                    hint="upload every blob of the draft before the draft",
                )

    def _store(self, digest: Digest, path: Path) -> None:
        if self._world.blobs.add(path, size_bytes_max=BLOBS_BYTES_MAX) != digest:
            raise Refused(f"blob {digest[:12]}… is not what its name says", hint="upload it again")

    def _share_below(self, release: Release) -> float | None:
        if release.baseline is None:
            return None
        try:
            baseline = codec.from_json(Baseline, self._world.blobs.read(release.baseline.digest))
        except ContractError as error:
            raise Refused(f"the draft's baseline cannot be read: {error}") from error
        return baseline.confidence.share_below if baseline.confidence else None


def checked_name(name: str) -> ModelName:
    """Return a model's name.

    Raises:
        Refused
    """
    if not ids.fits(ModelName, name):
        raise Refused(
            f"{name[:70]!r} is not a model's name",
            hint="use lower-case letters, digits and '-', at most 63, beginning and ending with a letter or digit",
        )
    return ModelName(name)


def found_model(tables: Tables, name: ModelName) -> Model:
    """Return a model of this transaction.

    Raises:
        NotFound
    """
    model = tables.models.get(name)
    if model is None:
        raise NotFound("model", name[:70])
    return model


def found_version(tables: Tables, model: ModelName, version: str) -> Version:
    """Return a version of this transaction, by name or by ``@alias``.

    Raises:
        NotFound
    """
    family = found_model(tables, model)
    name = family.aliases.get(AliasName(version[1:])) if version.startswith("@") else VersionName(version)
    if name is None:
        raise NotFound("alias", version[1:70], hint=f"model {model} has {', '.join(family.aliases) or 'none'}")
    found = tables.versions.get(model, name)
    if found is None:
        raise NotFound("version", f"{model} {name[:70]}")
    return found


def _free(tables: Tables, model: ModelName, version: VersionName) -> None:
    if found_model(tables, model).archived_at_s is not None:
        raise Conflict(f"model {model} is archived", hint=f"pinnace model unarchive {model}", code=Code.ARCHIVED)
    if tables.versions.get(model, version) is not None:
        raise Conflict(
            f"version {version} of {model} is there already, and a version never changes",
            hint="choose another version name",
            code=Code.EXISTS,
        )


def _written(release: Release) -> bytes:
    try:
        return codec.to_json(release)
    except ContractError as error:
        raise Refused(f"the draft is not a release: {error}") from error


def _blobs_of(release: Release) -> tuple[Blob, ...]:
    blobs = [blob for variant in release.variants for blob in release.blobs(variant)]
    return tuple({blob.digest: blob for blob in blobs}.values())


def _added(version: Version) -> Event:
    variants = ", ".join(f"{each.runtime} {each.precision}" for each in version.body.variants)
    return Event(
        at_s=version.created_at_s,
        kind=EventKind.VERSION_ADDED,
        actor=version.actor,
        summary=f"version {version.version} of {version.model} signed: {variants}",
        model=version.model,
        version=version.version,
        data={"release": version.release, "sequence": str(version.sequence), "variants": variants},
    )
