"""``pinnace-agent enroll``: a key is made, a server asked, the roots that the token pins are checked, all of it kept.

Every step may be repeated: the key and the incarnation are made once, and the identity is written last.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pinnace_agent import identity as identities
from pinnace_agent import runtimes, trust
from pinnace_agent.adapters import enrolment_http, system_proc
from pinnace_agent.adapters.filesystem import Directory, locked
from pinnace_agent.adapters.keys_file import DeviceKey
from pinnace_agent.errors import AgentError
from pinnace_agent.identity import Identity
from pinnace_agent.settings import Settings
from pinnace_agent.store import IDENTITY, Store
from pinnace_agent.version import AGENT_VERSION
from pinnace_contract.errors import ContractError
from pinnace_contract.latest import EnrolRequest, Label, parse_claim_token


class EnrolmentInvalid(AgentError):
    """Something on the command line cannot be used."""


class AlreadyEnrolled(AgentError):
    """This store has an identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the device would like to be called; the server chooses."""

    name: str = ""
    serial: str = ""
    labels: tuple[str, ...] = ()


def enroll(settings: Settings, server: str, token_text: str, wishes: Wishes) -> Identity:
    """Get an identity from ``server`` and keep it in the store.

    Raises:
        AgentError: the token, the server or the disk; nothing half-done stays but a key that nobody knows.
    """
    try:
        token = parse_claim_token(token_text)
    except ContractError as error:
        raise EnrolmentInvalid(f"--token: {error}; copy the whole line that `pinnace token create` printed") from error
    labels = tuple(_label(text) for text in wishes.labels)
    with locked(settings.store):
        store = Store(Directory(settings.store))
        loaded = store.open()
        if store.identity(identities.IDENTITY_FILE) is not None:
            known = identities.load(store, settings.store)
            raise AlreadyEnrolled(
                f"{settings.store} is enrolled as {known.device} with {known.server}; use another --store for another"
            )
        state = loaded.state if loaded else identities.new_state()
        if loaded is None:
            store.save(state)
        key = DeviceKey.load_or_make(settings.store / IDENTITY / identities.KEY_FILE)
        name = wishes.name or os.uname().nodename
        hardware = settings.hardware or system_proc.hardware()
        request = EnrolRequest(
            secret_hex=token.secret_hex,
            csr_pem=key.signing_request(name),
            incarnation=state.incarnation,
            name=name[:128],
            serial=wishes.serial,
            hardware=hardware,
            agent_version=AGENT_VERSION,
            runtimes=tuple(each.runtime for each in runtimes.probe()),
            labels=labels,
        )
        enrolled = enrolment_http.enrol(server, request)
        pins = (token.image_root, token.director_root)
        trusted = trust.first_trust(enrolled.image_roots, enrolled.director_roots, pins)
        store.save_metadata(trust.UNIT, trust.to_files(trusted))
        made = Identity(device=enrolled.device, server=server, endpoints=enrolled.endpoints, hardware=hardware)
        identities.save(store, made)
        return made


def _label(text: str) -> Label:
    key, separator, value = text.partition("=")
    if not separator or not key or len(key) > 63 or len(value) > 128:
        raise EnrolmentInvalid(f"--label: expected KEY=VALUE (at most 63 and 128 characters), found {text!r}")
    return Label(key=key, value=value)
