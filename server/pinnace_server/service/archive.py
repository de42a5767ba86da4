"""The archive: what is hidden and never assigned anew, and nothing of it deleted. What is in use stays out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pinnace_contract.ids import ModelName, VersionName
from pinnace_contract.latest import Intent
from pinnace_server.domain.aliases import REASON_CHARS_MAX
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import Event, EventKind, Model, Rollout, Version
from pinnace_server.errors import Code, Conflict, Refused
from pinnace_server.service.catalogue import found_model, found_version
from pinnace_server.service.ports import Tables, World

NAMES_SHOWN: Final = 5
VERSIONS_MAX: Final = 100_000  # of one model; more than anybody registers


class Archive:
    """Puts models and versions away, and takes them back."""

    def __init__(self, world: World) -> None:
        self._world = world

    def put_away(self, model: ModelName, version: VersionName, actor: str, reason: str = "") -> Version:
        """Archive a version. Doing it again changes nothing.

        Raises:
            NotFound, Refused. Conflict: an alias, an active rollout or a device's assignment uses it.
        """
        with self._world.store.write() as tables:
            found = found_version(tables, model, version)
            if found.archived_at_s is not None:
                return found
            _check_unused(f"version {version} of {model}", _uses(tables, found_model(tables, model), [found]))
            tables.versions.archive(model, found.version, self._world.clock.now())
            what = f"version {found.version} of {model}"
            self._said(tables, EventKind.VERSION_ARCHIVED, what, "archived", model, actor, reason, found.version)
            archived = found_version(tables, model, found.version)
        self._told(model)
        return archived

    def take_back(self, model: ModelName, version: VersionName, actor: str, reason: str = "") -> Version:
        """Take a version out of the archive. Doing it again changes nothing.

        Raises:
            NotFound, Refused
        """
        with self._world.store.write() as tables:
            found = found_version(tables, model, version)
            if found.archived_at_s is None:
                return found
            tables.versions.archive(model, found.version, None)
            what, kind = f"version {found.version} of {model}", EventKind.VERSION_UNARCHIVED
            self._said(tables, kind, what, "taken out of the archive", model, actor, reason, found.version)
            back = found_version(tables, model, found.version)
        self._told(model)
        return back

    def put_model_away(self, model: ModelName, actor: str, reason: str = "") -> Model:
        """Archive a model with all of its versions. Doing it again changes nothing.

        Raises:
            NotFound, Refused. Conflict: an alias, an active rollout or a device's assignment uses one of its versions.
        """
        with self._world.store.write() as tables:
            found = found_model(tables, model)
            if found.archived_at_s is not None:
                return found
            versions = tables.versions.listing(model, Page(limit=VERSIONS_MAX)).rows
            _check_unused(f"model {model}", _uses(tables, found, versions))
            tables.models.archive(model, self._world.clock.now())
            self._said(tables, EventKind.MODEL_ARCHIVED, f"model {model}", "archived", model, actor, reason)
            archived = found_model(tables, model)
        self._told(model)
        return archived

    def take_model_back(self, model: ModelName, actor: str, reason: str = "") -> Model:
        """Take a model out of the archive. Versions that were archived by themselves stay so.

        Raises:
            NotFound, Refused
        """
        with self._world.store.write() as tables:
            found = found_model(tables, model)
            if found.archived_at_s is None:
                return found
            tables.models.archive(model, None)
            what, kind = f"model {model}", EventKind.MODEL_UNARCHIVED
            self._said(tables, kind, what, "taken out of the archive", model, actor, reason)
            back = found_model(tables, model)
        self._told(model)
        return back

    def _said(
        self,
        tables: Tables,
        kind: EventKind,
        what: str,
        verb: str,
        model: ModelName,
        actor: str,
        reason: str,
        version: VersionName | None = None,
    ) -> None:
        if len(reason) > REASON_CHARS_MAX:
            raise Refused(f"expected a reason of at most {REASON_CHARS_MAX} characters, found {len(reason)}")
        tables.events.append(
            Event(
                at_s=self._world.clock.now(),
                kind=kind,
                actor=actor,
                summary=f"{what} {verb}{f': {reason}' if reason else ''}",
                model=model,
                version=version,
                data={"reason": reason},
            )
        )

    def _told(self, model: ModelName) -> None:
        self._world.changes.notify(["models", f"model:{model}", "events"])


def check_in_use(model: Model, version: Version) -> None:
    """Make sure that neither a version nor its model is archived.

    Raises:
        Conflict
    """
    if model.archived_at_s is not None:
        raise Conflict(
            f"model {model.name} is archived", hint=f"pinnace model unarchive {model.name}", code=Code.ARCHIVED
        )
    if version.archived_at_s is not None:
        raise Conflict(
            f"version {version.version} of {model.name} is archived",
            hint=f"pinnace version unarchive {model.name} {version.version}; or choose another version",
            code=Code.ARCHIVED,
        )


def check_assignable(tables: Tables, rollout: Rollout) -> None:
    """Make sure that nobody is moved up to what is archived. The way back stays open: it is what devices held as good.

    Raises:
        Conflict
    """
    if rollout.intent is Intent.UPGRADE and rollout.version is not None:
        version = tables.versions.get(rollout.model, rollout.version)
        model = tables.models.get(rollout.model)
        if version is not None and model is not None:
            check_in_use(model, version)


def _uses(tables: Tables, model: Model, versions: Sequence[Version]) -> list[str]:
    """Return who uses one of these versions, in words."""
    names, releases = {each.version for each in versions}, {each.release for each in versions}
    uses = [f"alias {alias} points at {target}" for alias, target in model.aliases.items() if target in names]
    for rollout in tables.rollouts.active():
        if rollout.model != model.name:
            continue
        if rollout.version in names or any(
            member.release in releases for member in tables.rollouts.members(rollout.id)
        ):
            uses.append(f"rollout {rollout.id} is active")
    gone = tables.devices.decommissioned()
    wanted = [device for device in tables.versions.wanted_on(releases) if device not in gone]
    if wanted:
        more = ", …" if len(wanted) > NAMES_SHOWN else ""
        plural = "devices are" if len(wanted) > 1 else "device is"
        uses.append(f"{len(wanted)} {plural} assigned it ({', '.join(wanted[:NAMES_SHOWN])}{more})")
    return uses


def _check_unused(what: str, uses: Sequence[str]) -> None:
    if uses:
        raise Conflict(
            f"{what} is in use: {'; '.join(uses)}",
            hint="move aliases and devices to another version first, or cancel the rollout",
            code=Code.IN_USE,
        )
