"""Models, versions and aliases: what there is to assign. A version is registered once and never changes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from pinnace_contract import codec, ids
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import Digest, ModelName, VersionName
from pinnace_contract.latest import Baseline, Blob, Release
from pinnace_converters import chunks
from pinnace_server.domain.queries import Listing, Page
from pinnace_server.domain.records import AliasName, Event, EventKind, Model, Version
from pinnace_server.errors import Code, Conflict, NotFound, Refused
from pinnace_server.service.ports import Tables, World

CARD_CHARS_MAX: Final = 64 * 1024
DESCRIPTION_CHARS_MAX: Final = 1024
BLOBS_BYTES_MAX: Final = 4 * 1024**3  # of one version
_ALIAS_PATTERN: Final = ids.GRAMMARS[ModelName]


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

    def models(self, page: Page, text: str = "") -> Listing[Model]:
        """Return models by name."""
        with self._world.store.read() as tables:
            return tables.models.listing(page, text)

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

    def versions(self, model: ModelName, page: Page) -> Listing[Version]:
        """Return a model's versions, the newest first."""
        with self._world.store.read() as tables:
            found_model(tables, model)
            return tables.versions.listing(model, page)

    def version(self, model: ModelName, version: str) -> Version:
        """Return one version, by name or, with ``@`` before it, by alias.

        Raises:
            NotFound
        """
        with self._world.store.read() as tables:
            return found_version(tables, model, version)

    def release_file(self, model: ModelName, version: str) -> bytes:
        """Return the signed release file."""
        found = self.version(model, version)
        return self._world.blobs.read(Digest(found.release))

    def outcomes(self, model: ModelName) -> Mapping[tuple[VersionName, str], int]:
        """Count receipts by (version, outcome)."""
        with self._world.store.read() as tables:
            return tables.receipts.outcomes(model)

    def point(self, model: ModelName, alias: str, version: str, actor: str) -> Model:
        """Let an alias point at a version.

        Raises:
            NotFound, Refused
        """
        name = _checked_alias(alias)
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            found = found_version(tables, model, version)
            before = found_model(tables, model).aliases.get(name)
            tables.models.point(model, name, found.version)
            if before != found.version:
                summary = f"alias {alias} of {model} points at {found.version}" + (
                    f", before {before}" if before else ""
                )
                tables.events.append(
                    Event(
                        at_s=now,
                        kind=EventKind.ALIAS_MOVED,
                        actor=actor,
                        summary=summary,
                        model=model,
                        version=found.version,
                        data={"alias": alias, "before": before or ""},
                    )
                )
            pointed = found_model(tables, model)
        self._world.changes.notify([f"model:{model}", "events"])
        return pointed

    def unpoint(self, model: ModelName, alias: str, actor: str) -> None:
        """Remove an alias.

        Raises:
            NotFound
        """
        with self._world.store.write() as tables:
            found_model(tables, model)
            if not tables.models.unpoint(model, AliasName(alias)):
                raise NotFound("alias", alias)
            tables.events.append(
                Event(
                    at_s=self._world.clock.now(),
                    kind=EventKind.ALIAS_REMOVED,
                    actor=actor,
                    summary=f"alias {alias} of {model} removed",
                    model=model,
                    data={"alias": alias},
                )
            )
        self._world.changes.notify([f"model:{model}", "events"])

    def register(
        self,
        *,
        model: ModelName,
        version: VersionName,
        draft: Draft,
        files: Mapping[Digest, Path],
        actor: str,
        card: str = "",
    ) -> Version:
        """Make a draft a version: store its blobs, sign its release, list it.

        ``files`` holds the blobs that are not in the store yet. A version that stopped half-way leaves blobs that
        nobody refers to and a signed release that nobody assigns; registering it again is safe.

        Raises:
            NotFound: the model. Conflict: the version is there. Refused: a blob is missing or not what its digest says.
            SigningRefused
        """
        with self._registering:
            with self._world.store.read() as tables:
                release = self._numbered(tables, model, version, draft)
            self._store_blobs(release, files)
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
                card=card[:CARD_CHARS_MAX],
                share_below=self._share_below(release),
            )
            with self._world.store.write() as tables:
                tables.versions.add(added)
                tables.versions.list_blob(chunks.cut(data))
                tables.events.append(_added(added))
        for topic, payload in self._world.signing.image_metadata():
            self._world.publisher.publish(topic, payload, retained=True)
        self._world.changes.notify(["models", f"model:{model}", "events"])
        return added

    def check_free(self, model: ModelName, version: VersionName) -> None:
        """Make sure that a version can be added.

        Raises:
            NotFound: the model. Conflict: the version is there. Refused: not a version's name.
        """
        if not ids.fits(VersionName, version):
            raise Refused(
                f"{version[:70]!r} is not a version's name",
                hint="use letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit",
            )
        with self._world.store.read() as tables:
            _free(tables, model, version)

    def _numbered(self, tables: Tables, model: ModelName, version: VersionName, draft: Draft) -> Release:
        _free(tables, model, version)
        newest = tables.versions.listing(model, Page(limit=1)).rows
        return draft.release(
            model=model,
            version=version,
            sequence=tables.versions.next_sequence(model),
            epoch=newest[0].epoch if newest else 0,
            created_at_s=int(self._world.clock.now()),
        )

    def _store_blobs(self, release: Release, files: Mapping[Digest, Path]) -> None:
        for blob in _blobs_of(release):
            path = files.get(blob.digest)
            if path is not None:
                stored = self._world.blobs.add(path, size_bytes_max=BLOBS_BYTES_MAX)
                if stored != blob.digest:
                    raise Refused(f"blob {blob.digest[:12]}… is not what its name says", hint="upload it again")
            if not self._world.blobs.has(blob.digest) or self._world.blobs.size(blob.digest) != blob.size_bytes:
                raise Refused(
                    f"blob {blob.digest[:12]}… of {blob.size_bytes} bytes is missing",
                    hint="upload every blob of the draft before the draft",
                )

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
    found_model(tables, model)
    if tables.versions.get(model, version) is not None:
        raise Conflict(
            f"version {version} of {model} is there already, and a version never changes",
            hint="choose another version name",
            code=Code.EXISTS,
        )


def _checked_alias(alias: str) -> AliasName:
    if _ALIAS_PATTERN.fullmatch(alias) is None:
        raise Refused(f"{alias[:70]!r} is not an alias", hint="use lower-case letters, digits and '-', at most 63")
    return AliasName(alias)


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
