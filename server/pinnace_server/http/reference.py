"""``/docs``: every address in words, made from the OpenAPI document. Plain HTML, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font-family:ui-monospace,monospace;font-size:13px}pre{overflow:auto;padding:.5rem;border:1px solid #8886}"
    "summary{cursor:pointer;padding:.25rem 0}b{display:inline-block;min-width:4.5rem}td{padding:.1rem .8rem .1rem 0;"
    "vertical-align:top}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"


def install(app: FastAPI) -> None:
    """Add the page."""

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        """Show every address."""
        return HTMLResponse(page(app.openapi()), headers={"Content-Security-Policy": _POLICY})


def page(document: dict[str, Any]) -> str:
    """Return the document as HTML."""
    info = document["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])} API</title>",
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} API {escape(info['version'])}</h1>",
        f"<p>{escape(info['description'])}</p><p><a href=/openapi.json>openapi.json</a></p>",
    ]
    tag = None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            first = operation.get("tags", [""])[0]
            if first != tag:
                tag = first
                parts.append(f"<h2>{escape(tag)}</h2>")
            parts.append(_operation(document, path, method, operation))
    return "".join(parts)


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    address = f"<b>{method.upper()}</b> <code>{escape(path)}</code>"
    parts = [
        f"<details><summary>{address} {escape(operation['summary'])}</summary>",
        f"<p>{escape(operation.get('description', ''))}</p>",
    ]
    if operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(each['name'])}</code><td>{each['in']}<td>{escape(each.get('description', ''))}"
            for each in operation["parameters"]
        )
        parts.append(f"<table>{rows}</table>")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        parts.append(f"<p>Body:</p>{_example(document, content)}")
    for status, response in operation["responses"].items():
        parts.append(f"<p>{escape(status)}: {escape(response['description'])}</p>")
        if status < "300":
            parts.extend(_example(document, content) for content in response.get("content", {}).values())
    return "".join([*parts, "</details>"])


def _example(document: dict[str, Any], content: dict[str, Any]) -> str:
    example = content.get("example")
    schema = content.get("schema", {})
    if example is None and "$ref" in schema:
        named = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        example = next(iter(named.get("examples", [])), None)
    return f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>" if example is not None else ""
