"""Devices: the list and one of them."""

from __future__ import annotations

from pinnace_contract.ids import DeviceId, ModelName, VersionName
from pinnace_server.console import shown
from pinnace_server.console.query import DeviceQuery
from pinnace_server.console.reading import choices, climbs, series, values
from pinnace_server.console.reading.releases import ReleaseCache
from pinnace_server.domain import queries, selector
from pinnace_server.domain.queries import LIMIT_MAX, Page, ReceiptQuery
from pinnace_server.domain.records import ReceiptRecord
from pinnace_server.domain.statuses import status_of
from pinnace_server.service import variant_choices
from pinnace_server.service.fleet import found_device
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.whys import Whys

HISTORY_ROWS = 20
RECEIPTS_READ = 50  # enough for the newest of every model, and for the marks of an hour


class FleetReads:
    """``ports.FleetReads``."""

    def __init__(self, world: World, releases: ReleaseCache, whys: Whys) -> None:
        self._world = world
        self._releases = releases
        self._whys = whys

    def devices(self, query: DeviceQuery) -> shown.DevicePage:
        """Return a page of devices with the counts around it."""
        now = self._world.clock.now()
        asked = queries.DeviceQuery(
            now_s=now,
            text=query.q,
            status=query.status,
            model=ModelName(query.model) if query.model else None,
            version=VersionName(query.version) if query.version else None,
            selector=selector.parse(query.label),
            order=queries.DeviceOrder(query.order.value),
            descending=query.descending,
            page=Page(limit=query.size, offset=query.offset),
        )
        with self._world.store.read() as tables:
            found = tables.devices.listing(asked)
            names = [device.id for device in found.rows]
            said, wanted = tables.devices.slots(names), tables.assignments.of(names)
            releases = self._releases.some(tables, values.releases_of(said, wanted))
            rows = tuple(
                values.row(
                    device,
                    values.slots(
                        [slot for slot in said if slot.device == device.id],
                        [each for each in wanted if each.device == device.id],
                        releases,
                    ),
                    query.model,
                    now,
                )
                for device in found.rows
            )
            return shown.DevicePage(
                rows=rows,
                total=found.total,
                fleet=sum(tables.devices.by_status(queries.DeviceQuery(now_s=now)).values()),
                by_status=tables.devices.by_status(asked),
                models=tuple(model.name for model in tables.models.listing(Page(limit=LIMIT_MAX)).rows),
                versions=_versions(tables, query.model),
            )

    def device(self, device: str) -> shown.DeviceDetail:
        """Return one device with everything its page needs."""
        now = self._world.clock.now()
        whys = tuple(climbs.why(each) for each in self._whys.of_device(DeviceId(device)))
        with self._world.store.read() as tables:
            found = found_device(tables, DeviceId(device))
            said, wanted = tables.devices.slots([found.id]), tables.assignments.of([found.id])
            releases = self._releases.some(tables, values.releases_of(said, wanted))
            receipts = tables.receipts.listing(ReceiptQuery(device=found.id, page=Page(limit=RECEIPTS_READ))).rows
            last = int(now // 60)
            history = tables.events.listing(queries.EventQuery(device=found.id, page=Page(limit=HISTORY_ROWS)))
            return shown.DeviceDetail(
                id=found.id,
                name=found.name or found.id,
                status=status_of(found, now),
                why=values.why(found, now),
                labels=found.labels,
                slots=values.slots(said, wanted, releases, _newest(receipts)),
                last_seen=values.moment_or_none(found.seen_at_s),
                report_every_s=found.report_every_s,
                agent_version=found.agent_version,
                hardware=found.hardware,
                runtimes=tuple(found.runtimes),
                incarnation=found.incarnation,
                key_fingerprint=found.key,
                enrolled_at=values.moment(found.enrolled_at_s),
                generation=found.generation,
                health=values.health(found),
                latency=series.latency(
                    tables.reports.minutes(found.id, None, last - series.WINDOW_MIN, last),
                    receipts,
                    wanted,
                    {
                        slot.model: releases[slot.state.current.release]
                        for slot in said
                        if slot.state.current and slot.state.current.release in releases
                    },
                    found.hardware,
                    now,
                ),
                history=tuple(values.event(line) for line in history.rows),
                history_total=history.total,
                whys=whys,
                choices=tuple(choices.choice(each) for each in variant_choices.of_device(tables, found)),
            )


def _versions(tables: Tables, model: str) -> tuple[str, ...]:
    """Return the versions of a model that any device serves, to choose from."""
    if not model:
        return ()
    return tuple(sorted({version for _, version, _ in tables.devices.serving(ModelName(model)) if version}))


def _newest(receipts: tuple[ReceiptRecord, ...]) -> dict[ModelName, ReceiptRecord]:
    newest: dict[ModelName, ReceiptRecord] = {}
    for receipt in receipts:
        newest.setdefault(receipt.body.model, receipt)
    return newest
