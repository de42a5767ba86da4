"""Models, versions and variants, and what an assignment would touch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pinnace_contract.ids import ModelName, VersionName
from pinnace_contract.latest import Outcome, Release, Step, TensorSpec, Variant, WithdrawMode
from pinnace_server.console import shown
from pinnace_server.console.reading import aliases, values
from pinnace_server.console.reading.latency import FleetLatency, LatencyCache
from pinnace_server.console.reading.signatures import signature
from pinnace_server.domain import queries
from pinnace_server.domain.queries import Page, RolloutQuery
from pinnace_server.domain.records import Model, Version
from pinnace_server.domain.statuses import is_online
from pinnace_server.service.catalogue import found_model, found_version
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.rollouts import Rollouts

NAMES_SHOWN = 8
ROLLOUTS_LOOKED_AT = 50
_FAILURES = (Outcome.FAILED, Outcome.REJECTED)


class CatalogueReads:
    """``ports.CatalogueReads``."""

    def __init__(self, world: World, rollouts: Rollouts, latency: LatencyCache) -> None:
        self._world = world
        self._rollouts = rollouts
        self._latency = latency

    def models(self, page: int, size: int) -> shown.ModelPage:
        """Return a page of models."""
        with self._world.store.read() as tables:
            found = tables.models.listing(_page(page, size), archived=False)
            shares = values.shares(tables.devices.serving())
            rows = tuple(_model_row(model, shares) for model in found.rows)
            return shown.ModelPage(rows=rows, total=found.total)

    def model(self, model: str, page: int, size: int) -> shown.ModelDetail:
        """Return a model and a page of its versions."""
        with self._world.store.read() as tables:
            found = found_model(tables, ModelName(model))
            versions = tables.versions.listing(found.name, _page(page, size), archived=False)
            outcomes = tables.receipts.outcomes(found.name)
            shares = values.shares(tables.devices.serving(found.name))
            latency = self._measured(tables)
            pointings, pointings_total = aliases.history(tables, found)
            rows = tuple(
                _version_row(version, found, shares, latency, _of_version(outcomes, version))
                for version in versions.rows
            )
            return shown.ModelDetail(
                name=found.name,
                description=found.description,
                aliases=_aliases(found),
                versions=rows,
                total=versions.total,
                shares=shares,
                standing=aliases.standing(tables, found),
                pointings=pointings,
                pointings_total=pointings_total,
            )

    def version(self, model: str, version: str) -> shown.VersionDetail:
        """Return one version."""
        with self._world.store.read() as tables:
            found = found_version(tables, ModelName(model), version)
            family = found_model(tables, found.model)
            latency = self._measured(tables)
            rollouts = tables.rollouts.listing(
                RolloutQuery(model=found.model, page=Page(limit=ROLLOUTS_LOOKED_AT))
            ).rows
            newest = [rollout for rollout in rollouts if rollout.version == found.version][:1]
            counts = tables.rollouts.counts([rollout.id for rollout in newest])
            outcomes = tables.receipts.outcomes(found.model)
        return _version_detail(
            found,
            family,
            latency,
            signature(self._world.signing, found.model, found.release),
            values.progress(newest[0], counts.get(newest[0].id, {})) if newest else None,
            _of_version(outcomes, found),
        )

    def match(self, model: str, version: str, selector: str) -> shown.Match:
        """Return what an assignment would touch."""
        now = self._world.clock.now()
        found = self._rollouts.match(ModelName(model), version, selector)
        return shown.Match(
            devices=len(found.devices),
            already_on_it=len(found.already_on_it),
            offline=sum(not is_online(device, now) for device in found.devices),
            excluded=Counter(found.excluded.values()),
            names=tuple(device.name or device.id for device in found.devices[:NAMES_SHOWN]),
        )

    def _measured(self, tables: Tables) -> FleetLatency:
        now = self._world.clock.now()
        fleet = sum(tables.devices.by_status(queries.DeviceQuery(now_s=now)).values())
        return self._latency.get(tables, fleet, now)


def _page(page: int, size: int) -> Page:
    return Page(limit=size, offset=(page - 1) * size)


def _model_row(model: Model, shares: Sequence[shown.VersionShare]) -> shown.ModelRow:
    return shown.ModelRow(
        name=model.name,
        versions=model.versions,
        latest=model.latest or "",
        aliases=_aliases(model),
        shares=tuple(share for share in shares if share.model == model.name),
        updated_at=values.moment(model.updated_at_s),
    )


def _version_row(
    version: Version,
    model: Model,
    shares: Sequence[shown.VersionShare],
    latency: FleetLatency,
    outcomes: Mapping[str, int],
) -> shown.VersionRow:
    return shown.VersionRow(
        version=version.version,
        release=version.release,
        sequence=version.sequence,
        created_at=values.moment(version.created_at_s),
        aliases=_aliases_to(model, version),
        variants=tuple(f"{each.runtime} {each.precision}" for each in version.body.variants),
        devices=sum(share.devices for share in shares if share.version == version.version),
        committed=outcomes.get(Outcome.COMMITTED, 0),
        reverted=outcomes.get(Outcome.REVERTED, 0),
        failed=sum(outcomes.get(outcome, 0) for outcome in _FAILURES),
        withdrawn=version.withdrawn is not None,
        accuracy=_accuracy(version.body),
        p95_ms=latency.p95_of_release(version.release),
    )


def _of_version(outcomes: Mapping[tuple[VersionName, str], int], version: Version) -> dict[str, int]:
    return {outcome: n for (name, outcome), n in sorted(outcomes.items()) if name == version.version}


def _aliases(model: Model) -> dict[str, str]:
    return {str(alias): str(version) for alias, version in sorted(model.aliases.items())}


def _aliases_to(model: Model, version: Version) -> tuple[str, ...]:
    return tuple(alias for alias, target in sorted(model.aliases.items()) if target == version.version)


def _accuracy(release: Release) -> float | None:
    """Return the accuracy of the variant that devices get first, of those that were measured."""
    measured = (variant.parity.accuracy for variant in release.variants if variant.parity)
    return next((accuracy for accuracy in measured if accuracy is not None), None)


def _withdrawn(version: Version) -> str:
    said = version.withdrawal
    if said is None:
        return ""
    does = "no device may serve it" if said.mode is WithdrawMode.STOP else "no device may start it again"
    return f"withdrawn ({said.mode}) by {said.actor}: {does}{f', because: {said.reason}' if said.reason else ''}"


def _version_detail(
    version: Version,
    model: Model,
    latency: FleetLatency,
    signed: shown.Signature,
    progress: shown.Progress | None,
    outcomes: Mapping[str, int],
) -> shown.VersionDetail:
    release = version.body
    blocked = _withdrawn(version)
    if not blocked and signed.state != "verified":
        blocked = f"its signature is {signed.state}: no device would take it"
    if not blocked and (version.archived_at_s is not None or model.archived_at_s is not None):
        blocked = "archived: it is not assigned any more"
    return shown.VersionDetail(
        model=version.model,
        version=version.version,
        release=version.release,
        sequence=version.sequence,
        epoch=version.epoch,
        size_bytes=version.size_bytes,
        created_at=values.moment(version.created_at_s),
        aliases=_aliases_to(model, version),
        variants=tuple(_variant(variant, version, latency) for variant in release.variants),
        latency_minutes=latency.minutes,
        inputs=tuple(_tensor(spec) for spec in release.contract.inputs),
        outputs=tuple(_tensor(spec) for spec in release.contract.outputs),
        before=tuple(_step(step) for step in release.processing.before),
        after=tuple(_step(step) for step in release.processing.after),
        assets=tuple(asset.name for asset in release.assets),
        golden_vectors=release.golden.vectors,
        has_baseline=release.baseline is not None,
        error_rate_max=release.expectations.error_rate_max,
        p95_limits={each.hardware: each.p95_ms for each in release.expectations.p95},
        signature=signed,
        blocked=blocked,
        card=_card(version),
        provenance=_provenance(version),
        progress=progress,
        outcomes=outcomes,
    )


def _provenance(version: Version) -> dict[str, str]:
    """Return where a version comes from, as far as anybody said or the server knows."""
    lineage = version.lineage
    first = next((variant.provenance[0] for variant in version.body.variants if variant.provenance), None)
    known = {
        "registered by": version.actor,
        "source file": lineage.source or (first.input if first else ""),
        "code commit": lineage.code_commit,
        "data": lineage.data_digest or "",
        "environment": lineage.environment or "",
    }
    return {name: value for name, value in known.items() if value}


def _card(version: Version) -> str:
    """Return the card as text: its fields, then what is written freely."""
    fields = "\n".join(f"{name}: {text}" for name, text in version.card_fields.items())
    return "\n\n".join(part for part in (fields, version.card) if part)


def _variant(variant: Variant, version: Version, latency: FleetLatency) -> shown.VariantRow:
    parity = variant.parity
    return shown.VariantRow(
        digest=variant.digest,
        runtime=variant.runtime,
        precision=variant.precision,
        size_bytes=variant.blob.size_bytes,
        peak_memory_bytes=variant.peak_memory_bytes,
        accuracy=parity.accuracy if parity else None,
        agreement=parity.agreement if parity else None,
        snr_db=parity.snr_db if parity else None,
        max_abs=parity.max_abs if parity else None,
        samples=parity.samples if parity else 0,
        forced=parity.forced if parity else "",
        passes=tuple(record.name for record in variant.provenance),
        latency=latency.of_variant(version.release, variant.digest),
        devices=latency.devices_of_variant(version.release, variant.digest),
    )


def _tensor(spec: TensorSpec) -> shown.Tensor:
    return shown.Tensor(name=spec.name, datatype=spec.datatype, shape=spec.shape, unit=spec.unit, classes=spec.classes)


def _step(step: Step) -> str:
    return step.OP or "unknown step"
