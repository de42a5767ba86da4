"""The document is complete: whoever reads it alone can call every address and knows what may come back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pinnace_server import cli
from pinnace_server.http.problems import MEDIA_TYPE
from tests.server.http.conftest import Api

OPEN = {"/api/v1/health", "/api/v1/ready", "/api/v1/enrol"}


@dataclass(frozen=True, slots=True)
class Operation:
    path: str
    method: str
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, body in methods.items():
            yield Operation(path, method, body)


@pytest.fixture
def document(api_server: Api) -> dict[str, Any]:
    return api_server.app.openapi()


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        schema = found
    return schema


def has_example(document: dict[str, Any], content: dict[str, Any]) -> bool:
    if "example" in content or "examples" in content:
        return True
    schema = resolved(document, content.get("schema", {}))
    if "examples" in schema or "example" in schema:
        return True
    items = schema.get("properties", {}).get("items", {}).get("items")  # a stretch of a list
    return items is not None and "examples" in resolved(document, items)


def missing(document: dict[str, Any], operation: Operation) -> Iterator[str]:
    body = operation.body
    for what in ("summary", "description", "operationId"):
        if not body.get(what):
            yield f"no {what}"
    for parameter in body.get("parameters", []):
        if not parameter.get("description"):
            yield f"parameter {parameter['name']} has no description"
        if not parameter.get("schema"):
            yield f"parameter {parameter['name']} has no type"
    for media, content in body.get("requestBody", {}).get("content", {}).items():
        if not has_example(document, content):
            yield f"the {media} body has no example"
    good = {status: response for status, response in body["responses"].items() if status.startswith("2")}
    bad = {status: response for status, response in body["responses"].items() if not status.startswith("2")}
    if not good:
        yield "no answer is described"
    for status, response in good.items():
        if status != "204" and not response.get("content"):
            yield f"{status} has no body"
        for media, content in response.get("content", {}).items():
            if not content.get("schema"):
                yield f"the {media} answer has no type"
            if not has_example(document, content):
                yield f"the {media} answer has no example"
    for status, response in bad.items():
        content = response.get("content", {}).get(MEDIA_TYPE)
        if operation.path.endswith("/ready") and status == "503":
            continue  # its body says what is away
        if content is None or "example" not in content:
            yield f"error {status} has no example as {MEDIA_TYPE}"
    needed = {"422"} if operation.path in OPEN else {"401", "422", "503"}
    if "{" in operation.path:
        needed.add("404")
    if lacking := needed - set(bad):
        yield f"errors {sorted(lacking)} are not described"


def test_every_address_is_described_with_types_errors_and_examples(document: dict[str, Any]) -> None:
    wrong = [f"{operation}: {what}" for operation in operations(document) for what in missing(document, operation)]
    assert not wrong, "\n".join(wrong)


def test_every_address_but_three_asks_for_the_token(document: dict[str, Any]) -> None:
    asks = {operation.path for operation in operations(document) if operation.body.get("security")}
    assert {operation.path for operation in operations(document)} - asks == OPEN


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    names = [operation.body["operationId"] for operation in operations(document)]
    assert len(set(names)) == len(names)


def test_examples_are_valid_for_their_own_types(api_server: Api, document: dict[str, Any]) -> None:
    def models(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
        for each in kind.__subclasses__():
            yield each
            yield from models(each)

    checked = 0
    for model in models(BaseModel):
        if not model.__module__.startswith("pinnace_server.http.schemas"):
            continue
        extra = model.model_config.get("json_schema_extra")
        for example in extra.get("examples", []) if isinstance(extra, dict) else []:
            if isinstance(example, dict) and model.__name__ not in ("MadeClaimToken",):
                required = {name for name, field in model.model_fields.items() if field.is_required()}
                unknown = set(example) - set(model.model_fields)
                assert not unknown, f"{model.__name__}: its example has {unknown}"
                if required <= set(example):
                    model.model_validate(example)
                    checked += 1
    assert checked > 20


def test_every_address_has_a_verb_or_belongs_to_programs(document: dict[str, Any]) -> None:
    """What an operator can do over the API can be done at the command line."""
    texts = "".join(path.read_text() for path in Path(cli.__file__).parent.glob("*.py"))
    for_programs = {
        "/api/v1/enrol",
        "/api/v1/health",
        "/api/v1/ready",
        "/api/v1/receipts/{receipt}",
        "/api/v1/report-ranges",
        "/api/v1/devices/{device}/latency",
        "/api/v1/models/{model}/versions/{version}/release",
        "/api/v1/models/{model}/versions/{version}/variants",
        "/api/v1/models/{model}/versions/{version}/variants/{digest}",
        "/api/v1/models/{model}/versions/{version}/variants/{digest}/file",
    }
    for operation in operations(document):
        if operation.path in for_programs:
            continue
        last = [part for part in operation.path.removeprefix("/api/v1").split("/") if not part.startswith("{")][-1]
        assert f"/{last}" in texts, f"{operation} has no verb"


def test_reference_page_shows_every_address_and_fetches_nothing(api_server: Api, document: dict[str, Any]) -> None:
    answer = api_server.stranger.get("/docs")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    for operation in operations(document):
        assert operation.path in answer.text
