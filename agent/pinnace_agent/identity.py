"""Who this device is: what enrolment gave it, kept in the store beside its key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Protocol

from pinnace_agent.core.device import DeviceState
from pinnace_agent.errors import AgentError
from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.fields import limited
from pinnace_contract.ids import DeviceId, IncarnationId

IDENTITY_FILE: Final = "device.json"
KEY_FILE: Final = "device.pem"


class NotEnrolled(AgentError):
    """This store has no identity yet, or a damaged one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The answer of enrolment, as far as it does not change."""

    KIND: ClassVar[str] = "identity"
    BYTES_MAX: ClassVar[int] = 16 * 1024

    device: DeviceId
    server: str
    endpoints: tuple[str, ...] = limited(largest=8, smallest=1, chars=512)
    hardware: str = limited("", chars=64)


class IdentityStore(Protocol):
    """Private files of the store."""

    def save_identity(self, name: str, data: bytes) -> None: ...
    def identity(self, name: str) -> bytes | None: ...


def load(store: IdentityStore, root: Path) -> Identity:
    """Return who this device is.

    Raises:
        NotEnrolled
    """
    data = store.identity(IDENTITY_FILE)
    if data is None:
        raise NotEnrolled(
            f"{root} has no identity: run `pinnace-agent enroll --server URL --token TOKEN` with the same --store first"
        )
    try:
        return codec.from_json(Identity, data)
    except ContractError as error:
        raise NotEnrolled(f"the identity in {root} is damaged ({error}); enrol again with a new --store") from error


def save(store: IdentityStore, identity: Identity) -> None:
    """Keep who this device is."""
    store.save_identity(IDENTITY_FILE, codec.to_json(identity))


def new_state() -> DeviceState:
    """Return the state of a store that was just made, under a new incarnation."""
    return DeviceState(incarnation=IncarnationId(secrets.token_hex(16)))
