"""How a device gets an identity: a claim token from an operator, and a request that proves possession of a key.

The server chooses the device's id. The same key enrolling again is the same device, so an answer that was lost on the
way costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from pinnace_contract import ids
from pinnace_contract.ids import DeviceId, KeyId
from pinnace_contract.latest import ClaimToken, Enrolled, EnrolRequest, claim_token_text
from pinnace_server.domain import eras, planner, selector
from pinnace_server.domain.queries import Listing, Page
from pinnace_server.domain.records import (
    ClaimRecord,
    Device,
    DeviceState,
    Event,
    EventKind,
    Incarnation,
    TokenId,
)
from pinnace_server.errors import Code, Conflict, NotFound, Refused
from pinnace_server.service.door import hash_of
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.sets import save_set

SECRET_BYTES: Final = 32
USES_MAX: Final = 10_000
LIFE_MAX_S: Final = 400 * 86_400
LABELS_MAX: Final = 64
_NAME_CHARS: Final = 40  # of the device's own name that go into its id


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClaim:
    """A claim token, once: ``text`` is not kept."""

    record: ClaimRecord
    text: str


class Enrolment:
    """Makes claim tokens and takes devices in."""

    def __init__(self, world: World) -> None:
        self._world = world

    def create(
        self,
        *,
        uses: int,
        life_s: float,
        note: str = "",
        serial_pattern: str = "",
        labels: Mapping[str, str] | None = None,
        actor: str,
    ) -> NewClaim:
        """Make a claim token for ``uses`` devices. It carries the digests of the first roots, so that a device trusts
        no other server.

        Raises:
            Refused
        """
        if not 1 <= uses <= USES_MAX:
            raise Refused(f"a claim token is for 1 to {USES_MAX} devices, not {uses}")
        if not 0 < life_s <= LIFE_MAX_S:
            raise Refused(f"a claim token lives at most {LIFE_MAX_S // 86_400} days")
        check_labels(labels or {})
        secret, now = self._world.chance.secret_hex(SECRET_BYTES), self._world.clock.now()
        record = ClaimRecord(
            id=TokenId(self._world.chance.secret_hex(6)),
            secret_hash=hash_of(secret),
            note=note,
            uses_left=uses,
            expires_s=now + life_s,
            serial_pattern=serial_pattern,
            labels=dict(labels or {}),
            actor=actor,
            created_at_s=now,
        )
        token = ClaimToken(
            secret_hex=secret,
            image_root=ids.digest_of(self._world.signing.image_roots()[0]),
            director_root=ids.digest_of(self._world.signing.director_roots()[0]),
            expires_s=int(record.expires_s),
        )
        with self._world.store.write() as tables:
            tables.claims.save(record)
            tables.events.append(
                Event(
                    at_s=now,
                    kind=EventKind.CLAIM_TOKEN_CREATED,
                    actor=actor,
                    summary=f"claim token {record.id} for {uses} device{'s' * (uses != 1)} made",
                    data={"token": record.id, "uses": str(uses), "note": note},
                )
            )
        self._world.changes.notify(["events"])
        return NewClaim(record=record, text=claim_token_text(token))

    def tokens(self, page: Page) -> Listing[ClaimRecord]:
        """Return claim tokens, the newest first."""
        with self._world.store.read() as tables:
            return tables.claims.listing(page)

    def revoke(self, token: TokenId, actor: str) -> None:
        """Make a claim token worthless; devices that used it stay.

        Raises:
            NotFound
        """
        with self._world.store.write() as tables:
            if not tables.claims.remove(token):
                raise NotFound("claim token", token[:64])
            tables.events.append(
                Event(
                    at_s=self._world.clock.now(),
                    kind=EventKind.CLAIM_TOKEN_REVOKED,
                    actor=actor,
                    summary=f"claim token {token} revoked",
                    data={"token": token},
                )
            )
        self._world.changes.notify(["events"])

    def enrol(self, request: EnrolRequest) -> Enrolled:
        """Take a device in.

        Raises:
            Refused: the token or the request is not good.
            Conflict: the key belongs to a device that was decommissioned.
        """
        key, pem = self._world.device_keys.of_request(request.csr_pem)
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            known = tables.devices.of_key(key)
            claim = tables.claims.of_hash(hash_of(request.secret_hex))
            if known is not None and claim is not None:
                device = self._again(known)
            else:
                device = self._new(tables, request, _usable(claim, request, now), key, pem, now)
        self._world.changes.notify(["devices", f"device:{device}", "events"])
        return Enrolled(
            device=device,
            endpoints=self._world.endpoints,
            image_roots=self._world.signing.image_roots(),
            director_roots=self._world.signing.director_roots(),
        )

    def _again(self, known: Device) -> DeviceId:
        if known.state is DeviceState.DECOMMISSIONED:
            raise Conflict(
                f"this key belongs to device {known.id}, which was decommissioned",
                hint="remove the key on the device, so that it makes a new one, and enrol again",
            )
        return known.id

    def _new(
        self, tables: Tables, request: EnrolRequest, claim: ClaimRecord, key: KeyId, pem: str, now: float
    ) -> DeviceId:
        device = self._chosen_id(tables, request.name)
        tables.claims.save(replace(claim, uses_left=claim.uses_left - 1))
        made = Device(
            id=device,
            name=request.name or device,
            serial=request.serial,
            key=key,
            public_key_pem=pem,
            state=DeviceState.PENDING,
            labels=claim.labels,
            reported_labels={label.key: label.value for label in request.labels[:LABELS_MAX]},
            hardware=request.hardware,
            runtimes=request.runtimes,
            agent_version=request.agent_version,
            incarnation=request.incarnation,
            generation=eras.base_of(self._world.signing.era()),
            enrolled_at_s=now,
        )
        generation = planner.next_generation(made)
        tables.devices.save(replace(made, generation=generation))
        save_set(tables, self._world, made, generation)
        tables.devices.save_incarnation(
            Incarnation(device=device, incarnation=request.incarnation, first_seen_s=now, last_seen_s=now)
        )
        tables.events.append(
            Event(
                at_s=now,
                kind=EventKind.DEVICE_ENROLLED,
                actor=f"token:{claim.id}",
                summary=f"device {device} enrolled",
                device=device,
                data={"key": key, "hardware": request.hardware, "serial": request.serial, "token": claim.id},
            )
        )
        return device

    def _chosen_id(self, tables: Tables, wish: str) -> DeviceId:
        slug = re.sub(r"[^a-z0-9]+", "-", wish.lower())[:_NAME_CHARS].strip("-") or "device"
        while True:
            device = DeviceId(f"{slug}-{self._world.chance.secret_hex(3)}")
            if tables.devices.get(device) is None:
                return device


def check_labels(labels: Mapping[str, str]) -> None:
    """Make sure that every label can stand in a selector.

    Raises:
        Refused
    """
    if len(labels) > LABELS_MAX:
        raise Refused(f"a device has at most {LABELS_MAX} labels, found {len(labels)}")
    for key, value in labels.items():
        if re.fullmatch(selector.KEY_PATTERN, key) is None or key == selector.DEVICE_KEY:
            raise Refused(
                f"{key[:70]!r} is not a label's key",
                hint=f"use letters, digits, '.', '_' and '-', at most 63, beginning with a letter; "
                f"{selector.DEVICE_KEY!r} means the device's id",
            )
        if not selector.is_value(value):
            raise Refused(
                f"label {key}: {value[:70]!r} is not a label's value",
                hint=f"use 1 to {selector.VALUE_CHARS_MAX} printable characters, without a space at either end",
            )


def _usable(claim: ClaimRecord | None, request: EnrolRequest, now: float) -> ClaimRecord:
    if claim is None:
        problem = "the claim token is not known here: it was revoked, or made by another server"
    elif now > claim.expires_s:
        problem = "the claim token has expired"
    elif claim.uses_left < 1:
        problem = "the claim token is used up"
    elif claim.serial_pattern and not fnmatchcase(request.serial, claim.serial_pattern):
        problem = f"the claim token is for serial numbers like {claim.serial_pattern!r}"
    else:
        return claim
    raise Refused(problem, hint="ask the operator for a new one: pinnace token create", code=Code.TOKEN_REFUSED)
