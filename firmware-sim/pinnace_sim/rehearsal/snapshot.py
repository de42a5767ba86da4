"""The file of ``pinnace export fleet``, read back: what a server knew of its fleet. Its form is in ``docs/api.md``.

Fields that are not known here are ignored; those that a rehearsal needs are checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pinnace_contract.latest import P95, Expectations, Requirements, Runtime
from pinnace_sim.errors import BadSnapshot

FORMAT: Final = "pinnace-fleet"
FORMAT_VERSION: Final = 1
FILE_BYTES_MAX: Final = 512 * 1024 * 1024  # 100,000 devices with some models each
DEVICES_MAX: Final = 100_000
QUARANTINED: Final = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLink:
    """How a link behaved."""

    changes_a_day: float
    online_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetDevice:
    """One device. ``runs``, ``answered_an_hour`` and ``error_share`` are by model; None: the server did not know.

    ``labels`` are an operator's; an anonymous snapshot has none.
    """

    id: str
    hardware: str
    runtimes: tuple[Runtime, ...]
    agent_version: str
    report_every_s: int
    state: str
    online: bool
    seen_at_s: float | None
    disk_free_bytes: int | None
    memory_free_bytes: int | None
    memory_total_bytes: int | None
    link: SeenLink | None
    runs: Mapping[str, str]
    answered_an_hour: Mapping[str, float]
    error_share: Mapping[str, float]
    labels: Mapping[str, str]
    p95_ms: float | None

    @property
    def takes_part(self) -> bool:
        """Whether it ever spoke and may be assigned something."""
        return self.seen_at_s is not None and self.state != QUARANTINED


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetVariant:
    """One file of a version."""

    runtime: Runtime
    precision: str
    size_bytes: int
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetVersion:
    """One version. ``other_bytes``: what every device takes besides its variant."""

    model: str
    version: str
    aliases: tuple[str, ...]
    sequence: int
    other_bytes: int
    requires: Requirements
    expects: Expectations
    variants: tuple[FleetVariant, ...]

    @property
    def size_bytes_max(self) -> int:
        """The most that a device keeps of it."""
        return self.other_bytes + max((each.size_bytes for each in self.variants), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The fleet as it was."""

    made_at_s: float
    anonymous: bool
    devices: tuple[FleetDevice, ...]
    versions: tuple[FleetVersion, ...]

    def version(self, model: str, name: str) -> FleetVersion | None:
        """Return a version by its name, else by an alias, with or without ``@`` before it."""
        of_model = [each for each in self.versions if each.model == model]
        named = [each for each in of_model if each.version == name]
        return next(iter(named or [each for each in of_model if name.removeprefix("@") in each.aliases]), None)


def read(path: Path) -> Snapshot:
    """Read a snapshot.

    Raises:
        BadSnapshot
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadSnapshot(path, f"it has more than {FILE_BYTES_MAX} bytes")
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSnapshot(path, f"it cannot be read ({error})") from error
    return of_tree(path, tree)


def of_tree(path: Path, tree: object) -> Snapshot:
    """Return the snapshot of a tree; ``path`` says in messages where it is from.

    Raises:
        BadSnapshot
    """
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise BadSnapshot(path, f"expected an object whose format is {FORMAT}")
    if tree.get("format_version") != FORMAT_VERSION:
        found = tree.get("format_version")
        raise BadSnapshot(path, f"expected format_version {FORMAT_VERSION}, found {found!r}: another pinnace made it")
    try:
        found = Snapshot(
            made_at_s=float(tree["made_at_s"]),
            anonymous=bool(tree.get("anonymous")),
            devices=tuple(_device(each) for each in tree["devices"]),
            versions=tuple(_version(each) for each in tree["versions"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadSnapshot(path, f"a field is missing or of another type ({type(error).__name__}: {error})") from error
    if len({each.id for each in found.devices}) != len(found.devices):
        raise BadSnapshot(path, "a device is in it twice")
    if len(found.devices) > DEVICES_MAX:
        raise BadSnapshot(path, f"at most {DEVICES_MAX} devices are read, it has {len(found.devices)}")
    return found


def _device(tree: Mapping[str, Any]) -> FleetDevice:
    link, models = tree.get("link"), list(tree["models"])
    return FleetDevice(
        id=str(tree["id"]),
        hardware=str(tree["hardware"]),
        runtimes=tuple(_runtimes(tree["runtimes"])),
        agent_version=str(tree["agent_version"]),
        report_every_s=max(1, int(tree["report_every_s"])),
        state=str(tree["state"]),
        online=bool(tree["online"]),
        seen_at_s=_number(tree.get("seen_at_s")),
        disk_free_bytes=_whole(tree.get("disk_free_bytes")),
        memory_free_bytes=_whole(tree.get("memory_free_bytes")),
        memory_total_bytes=_whole(tree.get("memory_total_bytes")),
        link=SeenLink(
            changes_a_day=max(0.0, float(link["changes_a_day"])),
            online_share=min(1.0, max(0.0, float(link["online_share"]))),
        )
        if link
        else None,
        runs={str(each["model"]): str(each["current"]["version"]) for each in models if each.get("current")},
        answered_an_hour={
            str(each["model"]): max(0.0, float(each["answered_an_hour"]))
            for each in models
            if each.get("answered_an_hour") is not None
        },
        error_share={
            str(each["model"]): min(1.0, max(0.0, float(each["error_share"])))
            for each in models
            if each.get("error_share") is not None
        },
        labels={str(key): str(value) for key, value in (tree.get("labels") or {}).items()},
        p95_ms=_number(tree.get("p95_ms")),
    )


def _version(tree: Mapping[str, Any]) -> FleetVersion:
    requires, expects = tree.get("requires") or {}, tree.get("expects") or {}
    return FleetVersion(
        model=str(tree["model"]),
        version=str(tree["version"]),
        aliases=tuple(str(each) for each in tree.get("aliases", ())),
        sequence=int(tree["sequence"]),
        other_bytes=max(0, int(tree["other_bytes"])),
        requires=Requirements(
            hardware=tuple(str(each) for each in requires.get("hardware", ())),
            agent_version=str(requires.get("agent_version", "")),
            memory_bytes=int(requires.get("memory_bytes", 0)),
        ),
        expects=Expectations(
            error_rate_max=min(1.0, max(0.0, float(expects.get("error_rate_max", Expectations().error_rate_max)))),
            p95=tuple(
                P95(hardware=str(each["hardware"]), p95_ms=max(0.0, float(each["p95_ms"])))
                for each in expects.get("p95", ())
            ),
        ),
        variants=tuple(
            FleetVariant(
                runtime=runtime,
                precision=str(each["precision"]),
                size_bytes=max(1, int(each["size_bytes"])),
                peak_memory_bytes=max(0, int(each.get("peak_memory_bytes") or 0)),
            )
            for each in tree["variants"]
            for runtime in _runtimes([each["runtime"]])
        ),
    )


def _runtimes(words: list[str]) -> Iterator[Runtime]:
    """Yield those that this version of the contract knows."""
    known = {each.value for each in Runtime if each is not Runtime.UNKNOWN}
    return (Runtime(word) for word in words if word in known)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _whole(value: Any) -> int | None:
    return None if value is None else max(0, int(value))
