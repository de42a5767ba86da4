"""Enrolling simulated devices over the server's real HTTP interface, each with a key and a store of its own.

Requests are blocking, so a few threads make them: few, because a server takes devices in one after the other.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from pinnace_agent import identity as identities
from pinnace_agent import trust
from pinnace_agent.adapters import enrolment_http
from pinnace_agent.core.device import DeviceState
from pinnace_agent.identity import Identity
from pinnace_agent.store import Store
from pinnace_contract.ids import IncarnationId
from pinnace_contract.latest import EnrolRequest, Runtime, parse_claim_token
from pinnace_sim import chance as chances
from pinnace_sim.fleet.device import Body
from pinnace_sim.fleet.disk import Pool, SharedDisk
from pinnace_sim.fleet.profiles import Kind

THREADS: Final = 4  # of one process


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where devices enrol, and with which claim token."""

    server: str
    token: str


def enrolled(door: Door, name: str, kind: Kind, pool: Pool, seed: int) -> Body:
    """Make a device and let the server take it in, as ``pinnace-agent enroll`` does.

    Raises:
        AgentError: the server said no, or nothing.
    """
    token = parse_claim_token(door.token)
    key = chances.DeviceKey(seed, name)
    incarnation = IncarnationId(secrets.token_hex(16))
    request = EnrolRequest(
        secret_hex=token.secret_hex,
        csr_pem=key.signing_request(),
        incarnation=incarnation,
        name=name,
        hardware=kind.hardware,
        agent_version=kind.agent_version,
        runtimes=(Runtime.ONNX,),
    )
    answer = enrolment_http.enrol(door.server, request)
    disk = SharedDisk(pool, kind.disk_bytes)
    store = Store(disk)
    store.open()
    store.save(DeviceState(incarnation=incarnation))
    trusted = trust.first_trust(answer.image_roots, answer.director_roots, (token.image_root, token.director_root))
    store.save_metadata(trust.UNIT, trust.to_files(trusted))
    who = Identity(device=answer.device, server=door.server, endpoints=answer.endpoints, hardware=kind.hardware)
    identities.save(store, who)
    return Body(who=who, kind=kind, key=key, disk=disk, chance=chances.stream(seed, f"device {name}"))
