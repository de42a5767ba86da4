"""Models, versions and the blobs that releases list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pinnace_contract.ids import DeviceId, Digest, ModelName, ReleaseId, VersionName
from pinnace_contract.latest import Blob, Outcome, WithdrawnRelease
from pinnace_server.domain.lineage import Origin
from pinnace_server.domain.queries import Listing, Page
from pinnace_server.domain.records import AliasName, Model, Version, Withdrawal
from pinnace_sim.memory.lists import contains, cut
from pinnace_sim.memory.tables import Disk


class MemoryModels:
    """``ports.Models``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def get(self, name: ModelName) -> Model | None:
        return self._disk.models.get(name)

    def add(self, model: Model) -> None:
        if model.name in self._disk.models:
            raise self._disk.undo.violated(f"the model {model.name!r} is there already")
        self._disk.undo.put(self._disk.models, model.name, replace(model, aliases={}, versions=0, latest=None))

    def describe(self, name: ModelName, description: str) -> None:
        self._disk.undo.put(self._disk.models, name, replace(self._disk.models[name], description=description))

    def require_card(self, name: ModelName, fields: Sequence[str]) -> None:
        self._disk.undo.put(self._disk.models, name, replace(self._disk.models[name], card_required=tuple(fields)))

    def archive(self, name: ModelName, at_s: float | None) -> None:
        self._disk.undo.put(self._disk.models, name, replace(self._disk.models[name], archived_at_s=at_s))

    def listing(self, page: Page, text: str = "", *, archived: bool = True) -> Listing[Model]:
        found = [self._disk.models[name] for name in sorted(self._disk.models) if contains(name, text)]
        return cut([each for each in found if archived or each.archived_at_s is None], page)

    def point(self, name: ModelName, alias: AliasName, version: VersionName) -> None:
        self._disk.need_model(name)
        model = self._disk.models[name]
        aliases = dict(sorted({**model.aliases, alias: version}.items()))
        self._disk.undo.put(self._disk.models, name, replace(model, aliases=aliases))

    def unpoint(self, name: ModelName, alias: AliasName) -> bool:
        model = self._disk.models.get(name)
        if model is None or alias not in model.aliases:
            return False
        left = {each: version for each, version in model.aliases.items() if each != alias}
        self._disk.undo.put(self._disk.models, name, replace(model, aliases=left))
        return True


class MemoryVersions:
    """``ports.Versions``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def get(self, model: ModelName, version: VersionName) -> Version | None:
        return self._disk.versions.get((model, version))

    def of_release(self, release: ReleaseId) -> Version | None:
        return self._disk.version_of_release.get(release)

    def add(self, version: Version) -> None:
        disk, undo = self._disk, self._disk.undo
        disk.need_model(version.model)
        others = disk.versions_of.get(version.model, ())
        if (version.model, version.version) in disk.versions:
            raise undo.violated(f"the version {version.version!r} of {version.model!r} is there already")
        if version.release in disk.version_of_release:
            raise undo.violated(f"the release {version.release} is a version already")
        if any(other.sequence == version.sequence for other in others):
            raise undo.violated(f"{version.model!r} has a version of sequence {version.sequence} already")
        together = tuple(sorted((*others, version), key=lambda one: one.sequence))
        undo.put(disk.versions, (version.model, version.version), version)
        undo.put(disk.version_of_release, version.release, version)
        undo.put(disk.versions_of, version.model, together)
        for variant in version.body.variants:
            for blob in version.body.blobs(variant):
                self.list_blob(blob)
        model = replace(
            disk.models[version.model],
            updated_at_s=version.created_at_s,
            versions=len(together),
            latest=_latest(together),
        )
        undo.put(disk.models, version.model, model)

    def archive(self, model: ModelName, version: VersionName, at_s: float | None) -> None:
        self._change(replace(self._disk.versions[model, version], archived_at_s=at_s))
        latest = _latest(self._disk.versions_of[model])
        self._disk.undo.put(self._disk.models, model, replace(self._disk.models[model], latest=latest))

    def withdraw(self, model: ModelName, version: VersionName, withdrawal: Withdrawal) -> None:
        self._change(replace(self._disk.versions[model, version], withdrawal=withdrawal))

    def withdrawn(self, models: Iterable[ModelName]) -> Sequence[WithdrawnRelease]:
        found = [
            (-each.withdrawal.at_s, model, -each.sequence, each.release, each.withdrawal.mode)
            for model in sorted(set(models))
            for each in self._disk.versions_of.get(model, ())
            if each.withdrawal is not None
        ]
        return [
            WithdrawnRelease(model=model, release=release, mode=mode)
            for _, model, _, release, mode in sorted(found, key=lambda row: row[:3])
        ]

    def least_epoch(self, model: ModelName) -> int:
        said = (each.withdrawal for each in self._disk.versions_of.get(model, ()))
        return max((each.least_next_epoch for each in said if each is not None), default=0)

    def _change(self, version: Version) -> None:
        disk, undo = self._disk, self._disk.undo
        together = tuple(
            version if each.version == version.version else each for each in disk.versions_of[version.model]
        )
        undo.put(disk.versions, (version.model, version.version), version)
        undo.put(disk.version_of_release, version.release, version)
        undo.put(disk.versions_of, version.model, together)

    def origin(self, model: ModelName, version: VersionName) -> Origin | None:
        return self._disk.origins.get((model, version))

    def add_origin(self, origin: Origin) -> None:
        key = (origin.model, origin.version)
        if key not in self._disk.versions:
            raise self._disk.undo.violated(f"a row names the version {key}, which is not there")
        if key in self._disk.origins:
            raise self._disk.undo.violated(f"the origin of {key} is there already")
        self._disk.undo.put(self._disk.origins, key, origin)

    def wanted_on(self, releases: Iterable[ReleaseId]) -> Sequence[DeviceId]:
        asked = set(releases)
        return sorted(
            device
            for device, models in self._disk.assignments.items()
            if any(each.release in asked for each in models.values())
        )

    def had_by(self, model: ModelName, version: VersionName, page: Page) -> Listing[DeviceId]:
        said = (each.body for each in self._disk.receipts.values() if each.counted)
        kept = {
            each.device
            for each in said
            if (each.model, each.version, each.outcome) == (model, version, Outcome.COMMITTED)
        }
        return cut(sorted(kept), page)

    def listing(self, model: ModelName, page: Page, *, archived: bool = True) -> Listing[Version]:
        found = self._disk.versions_of.get(model, ())[::-1]
        return cut([each for each in found if archived or each.archived_at_s is None], page)

    def next_sequence(self, model: ModelName) -> int:
        known = self._disk.versions_of.get(model, ())
        return known[-1].sequence + 1 if known else 1

    def blob(self, digest: Digest) -> Blob | None:
        return self._disk.blobs.get(digest)

    def list_blob(self, blob: Blob) -> None:
        self._disk.undo.put(self._disk.blobs, blob.digest, blob)


def _latest(versions: Sequence[Version]) -> VersionName | None:
    return next((each.version for each in reversed(versions) if each.archived_at_s is None), None)
