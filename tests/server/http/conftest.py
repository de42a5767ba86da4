"""The API over a server of the test's own, and somebody who has the token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pinnace_server.blobs.quarantine import Quarantine
from pinnace_server.http import app as api
from pinnace_server.service.audit import Audit
from pinnace_server.service.conversions import Conversions
from pinnace_server.service.door import TokenDoor, hash_of
from pinnace_server.service.export import Export
from pinnace_server.service.log import Log
from pinnace_server.service.services import Services, SystemStatus
from pinnace_server.service.steering import Steering
from pinnace_server.service.telemetry import Telemetry
from pinnace_server.service.whys import Whys
from tests.server.http.drafts import draft_file
from tests.server.world import Server, draft_of

TOKEN = "the-admin-token"
HOST = "http://127.0.0.1"
UPLOAD_BYTES_MAX = 300_000


@dataclass
class Converter:
    """Stands where the child process would: leaves a draft, or does what the test asks."""

    does: Callable[[Path], str] | None = None
    asked: list[str] = field(default_factory=list)

    def run(
        self, request: str, folder: Path, progress: Callable[[str, float], None], cancelled: Callable[[], bool]
    ) -> str:
        self.asked.append(request)
        progress("converting", 0.5)
        if self.does is not None:
            return self.does(folder)
        return write_draft(folder)


def write_draft(folder: Path) -> str:
    """Leave what the converter leaves."""
    made = draft_of("converted")
    (folder / "draft" / "blobs").mkdir(parents=True)
    for digest, content in made.contents.items():
        (folder / "draft" / "blobs" / digest).write_bytes(content)
    (folder / "draft" / "draft.json").write_bytes(draft_file(made))
    return '{"candidates": []}'


@dataclass
class Api:
    """The application, the services under it, and two clients."""

    app: FastAPI
    server: Server
    services: Services
    converter: Converter
    client: TestClient
    stranger: TestClient


@pytest.fixture
def api_server(server: Server, tmp_path: Path) -> Iterator[Api]:
    converter = Converter()
    quarantine = Quarantine(
        tmp_path / "quarantine", file_bytes_max=UPLOAD_BYTES_MAX, total_bytes_max=4 * UPLOAD_BYTES_MAX
    )
    conversions = Conversions(server.world, server.catalogue, converter, quarantine, tmp_path / "conversions")
    (tmp_path / "conversions").mkdir()
    services = Services(
        world=server.world,
        catalogue=server.catalogue,
        aliases=server.aliases,
        archive=server.archive,
        conversions=conversions,
        enrolment=server.enrolment,
        fleet=server.fleet,
        export=Export(server.world),
        rollouts=server.rollouts,
        steering=Steering(server.world),
        withdrawing=server.withdrawing,
        replacing=server.replacing,
        whys=Whys(server.world),
        audit=Audit(server.world),
        telemetry=Telemetry(server.world),
        log=Log(server.world),
        ingest=server.ingest,
        controller=server.controller,
        door=TokenDoor(hash_of(TOKEN)),
        receive_upload=quarantine.begin,
        upload_path=quarantine.path,
        status=lambda: SystemStatus(
            broker="a broker of the test's own",
            broker_url="mqtt://127.0.0.1:1883",
            connected=True,
            received=0,
            waiting_out_bytes=0,
            disk_free_bytes=1,
        ),
        version="0.0.test",
        started_at_s=server.clock.now(),
    )
    app = api.build(services)
    with (
        TestClient(app, base_url=HOST, headers={"Authorization": f"Bearer {TOKEN}"}) as client,
        TestClient(app, base_url=HOST) as stranger,
    ):
        yield Api(app=app, server=server, services=services, converter=converter, client=client, stranger=stranger)
