"""One server and some devices for a test, and drafts that are converted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import models
from tests.e2e.fleet import Device, Server, running
from tests.needs import need

pytest.importorskip("sklearn", reason="the extra demo is not installed")

Enrol = Callable[..., Device]
Fleet = tuple[Server, Device]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """Two versions of one model, both good, and what they were made of."""

    first: Path
    second: Path
    data: models.Digits
    source: Path
    calibration: Path
    held_out: Path


@pytest.fixture(scope="session")
def drafts(tmp_path_factory: pytest.TempPathFactory) -> Drafts:
    folder = tmp_path_factory.mktemp("drafts")
    data = models.digits()
    calibration, held_out = models.save_data(folder, data)
    options = ("--calibration", str(calibration), "--heldout", str(held_out))
    made = []
    for name, ridge in (("first", 1.0), ("second", 40.0)):
        source = folder / f"{name}.onnx"
        source.write_bytes(models.linear(data, ridge))
        made.append(models.convert(folder, name, source, *options))
    return Drafts(
        first=made[0],
        second=made[1],
        data=data,
        source=folder / "first.onnx",
        calibration=calibration,
        held_out=held_out,
    )


@pytest.fixture(scope="session")
def third_draft(drafts: Drafts) -> Path:
    """One more version of the model, whose variants no other version has."""
    folder = drafts.source.parent
    source = folder / "third.onnx"
    source.write_bytes(models.linear(drafts.data, 160.0))
    options = ("--calibration", str(drafts.calibration), "--heldout", str(drafts.held_out))
    return models.convert(folder, "third", source, *options)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    need("mosquitto")
    with running(tmp_path) as made:
        yield made


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Enrol]:
    """Enrol and start a device; all of them are ended after the test."""
    made: list[Device] = []

    def enrolled(server: Server, name: str, *options: str, store: Path | None = None) -> Device:
        found = Device(tmp_path, server, name, store)
        found.enroll()
        found.start(*options)
        made.append(found)
        return found

    yield enrolled
    for each in made:
        each.stop()
        print(f"--- {each.name}\n{each.log}")


@pytest.fixture
def fleet(server: Server, device: Enrol, drafts: Drafts) -> Fleet:
    """A server with both versions, and a device that has committed the first."""
    server.call("POST", "/models", json={"name": "digits"})
    server.add_draft(drafts.first, "1")
    server.add_draft(drafts.second, "2")
    camera = device(server, "camera")
    server.assign("1", camera.id)
    assert server.outcome(camera.id, "1")["outcome"] == "committed"
    return server, camera
