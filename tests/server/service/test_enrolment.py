"""Who gets an identity, and who does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pinnace_contract import ids
from pinnace_contract.latest import parse_claim_token
from pinnace_server.domain import selector
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import DeviceState, EventKind
from pinnace_server.errors import Code, Conflict, Refused
from tests.server.world import Server, TestedDevice


def test_token_pins_the_first_roots_and_is_kept_as_a_hash(server: Server) -> None:
    made = server.enrolment.create(uses=1, life_s=60, actor="test")
    token = parse_claim_token(made.text)
    assert token.image_root == ids.digest_of(server.signer.image_roots()[0])
    assert token.director_root == ids.digest_of(server.signer.director_roots()[0])
    (kept,) = server.enrolment.tokens(Page()).rows
    assert token.secret_hex not in repr(kept)
    assert token.secret_hex not in repr(server.events())


def test_device_gets_an_id_that_the_server_chose_and_the_tokens_labels(server: Server) -> None:
    claim = server.enrolment.create(uses=1, life_s=60, labels={"site": "lyon"}, actor="test")
    device = TestedDevice(server, "Käfer / №7")
    answer = device.enrol(claim.text)
    assert answer.device.startswith("k-fer-7-")
    known = server.known(device)
    assert (known.key, known.labels, known.state) == (device.keyid, {"site": "lyon"}, DeviceState.PENDING)
    assert answer.image_roots == server.signer.image_roots()
    assert answer.endpoints == ("mqtt://127.0.0.1:1883",)


def test_answer_that_was_lost_can_be_asked_for_again(server: Server) -> None:
    claim = server.enrolment.create(uses=1, life_s=60, actor="test")
    device = TestedDevice(server, "camera")
    assert device.enrol(claim.text) == device.enrol(claim.text)
    assert len(server.events(EventKind.DEVICE_ENROLLED)) == 1


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("used", "used up"),
        ("expired", "expired"),
        ("revoked", "not known"),
        ("another", "not known"),
        ("serial", "serial numbers like 'A-\\*'"),
    ],
)
def test_token_is_refused(server: Server, case: str, said: str) -> None:
    pattern = "A-*" if case == "serial" else ""
    claim = server.enrolment.create(uses=1, life_s=60, serial_pattern=pattern, actor="test")
    if case == "used":
        TestedDevice(server, "first").enrol(claim.text)
    if case == "expired":
        server.clock.move(61)
    if case == "revoked":
        server.enrolment.revoke(claim.record.id, "test")
    device = TestedDevice(server, "second")
    request = device.request(claim.text, serial="B-1")
    if case == "another":
        request = replace(request, secret_hex="0" * 64)
    with pytest.raises(Refused, match=said) as refused:
        server.enrolment.enrol(request)
    assert refused.value.code is Code.TOKEN_REFUSED


def test_token_for_a_serial_number_lets_it_in(server: Server) -> None:
    claim = server.enrolment.create(uses=1, life_s=60, serial_pattern="A-*", actor="test")
    device = TestedDevice(server, "camera")
    server.enrolment.enrol(device.request(claim.text, serial="A-17"))


def _csr(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _unproven() -> str:
    good = x509.load_pem_x509_csr(_csr(ec.generate_private_key(ec.SECP256R1())).encode())
    der = bytearray(good.public_bytes(serialization.Encoding.DER))
    der[-3] ^= 1
    try:
        return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    except ValueError:
        return "not a request"


@pytest.mark.parametrize(
    "csr",
    [
        pytest.param("", id="nothing"),
        pytest.param("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", id="garbage"),
        pytest.param(_csr(ec.generate_private_key(ec.SECP384R1())), id="another curve"),
        pytest.param(_csr(ed25519.Ed25519PrivateKey.generate()), id="another algorithm"),
        pytest.param(_unproven(), id="without possession of the key"),
    ],
)
def test_signing_request_is_refused_and_costs_no_use(server: Server, csr: str) -> None:
    claim = server.enrolment.create(uses=1, life_s=60, actor="test")
    device = TestedDevice(server, "camera")
    with pytest.raises(Refused) as refused:
        server.enrolment.enrol(device.request(claim.text, csr_pem=csr))
    assert refused.value.code is Code.REQUEST_REFUSED
    device.enrol(claim.text)


def test_label_with_commas_spaces_and_umlauts_is_found_again(server: Server) -> None:
    device = server.device("camera")
    server.fleet.label(device.id, {"tags": "line-2, wet", "stadt": "Köln"}, "test")
    for selected in ("tags has wet", 'stadt="Köln"', 'tags="line-2, wet"'):
        with server.store.read() as tables:
            assert [each.id for each in tables.devices.matching(selector.parse(selected))] == [device.id], selected


def test_decommissioned_device_does_not_come_back_with_its_old_key(server: Server) -> None:
    claim = server.enrolment.create(uses=2, life_s=60, actor="test")
    device = TestedDevice(server, "camera")
    device.enrol(claim.text)
    server.fleet.decommission(device.id, "test")
    with pytest.raises(Conflict, match="decommissioned"):
        device.enrol(claim.text)


@pytest.mark.parametrize(
    "labels",
    [{"": "x"}, {"a b": "x"}, {"a": ""}, {"a": "x "}, {"device": "x"}, {f"k{n}": "v" for n in range(65)}, {"a": "\n"}],
)
def test_label_that_no_selector_could_name_is_refused(server: Server, labels: dict[str, str]) -> None:
    with pytest.raises(Refused):
        server.enrolment.create(uses=1, life_s=60, labels=labels, actor="test")
    device = server.device()
    with pytest.raises(Refused):
        server.fleet.label(device.id, dict(labels), "test")


def test_labels_are_set_and_removed_one_by_one(server: Server) -> None:
    device = server.device(labels={"site": "lyon", "old": "1"})
    after = server.fleet.label(device.id, {"old": None, "line": "3"}, "test")
    assert after.labels == {"site": "lyon", "line": "3"}
    assert server.known(device).labels == after.labels
    assert server.events(EventKind.DEVICE_LABELLED)[0].data == {"old": "", "line": "3"}


@pytest.mark.parametrize(("uses", "life_s"), [(0, 60), (10_001, 60), (1, 0), (1, 401 * 86_400)])
def test_token_without_bounds_is_refused(server: Server, uses: int, life_s: float) -> None:
    with pytest.raises(Refused):
        server.enrolment.create(uses=uses, life_s=life_s, actor="test")
