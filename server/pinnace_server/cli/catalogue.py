"""``pinnace model``, ``pinnace version``, ``pinnace job``: what there is to assign."""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pinnace_converters.draft import BLOBS_FOLDER, DRAFT_FILE
from pinnace_server.cli import aliases, cards, registry, shown
from pinnace_server.cli.api import Api, CallFailed, quoted
from pinnace_server.cli.asking import add_group, add_verb

if TYPE_CHECKING:
    from argparse import _SubParsersAction

POLL_S: Final = 0.5
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def add_parsers(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    models = add_group(verbs, "model", "named families of versions")
    show = add_verb(models, "list", "list models", _models)
    show.add_argument("--archived", action="store_true", help="those that are archived, too")
    show = add_verb(models, "show", "show a model and its versions", _model)
    show.add_argument("model")
    show.add_argument("--archived", action="store_true", help="versions that are archived, too")
    make = add_verb(models, "add", "make a model", _add_model)
    make.add_argument("model")
    make.add_argument("--description", default="")
    registry.add_to_models(models)

    versions = add_group(verbs, "version", "immutable, signed versions of a model")
    _add_version_parser(versions)
    show = add_verb(versions, "show", "show a version and its variants", _version)
    show.add_argument("model")
    show.add_argument("version", help="a name, or @ALIAS")
    registry.add_to_versions(versions)

    jobs = add_group(verbs, "job", "conversions on the server")
    add_verb(jobs, "list", "list conversions", _jobs)
    show = add_verb(jobs, "show", "show a conversion", _job)
    show.add_argument("job")
    cancel = add_verb(jobs, "cancel", "cancel a conversion", _cancel)
    cancel.add_argument("job")


def _add_version_parser(versions: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_verb(versions, "add", "convert a model file into a version, or register a draft", _add_version)
    parser.add_argument("model", help="made if it is not there")
    parser.add_argument("version", help="its name; a version never changes")
    parser.add_argument("file", type=Path, nargs="?", help="an .onnx or .tflite file")
    parser.add_argument("--draft", type=Path, metavar="DIR", help="the folder that `pinnace convert` left, instead")
    parser.add_argument("--calibration", type=Path, metavar="DATA.npz", help="raw inputs by name, and labels if known")
    parser.add_argument("--heldout", type=Path, metavar="DATA.npz", help="data that was not calibrated with")
    parser.add_argument("--processing", type=Path, metavar="FILE.json", help="declared steps, classes, expectations")
    parser.add_argument("--precisions", default="", metavar="LIST", help="as fp32,int8-static (default: all)")
    parser.add_argument("--variant", type=Path, action="append", default=[], metavar="FILE.tflite")
    parser.add_argument(
        "--asset", type=_asset, action="append", default=[], metavar="KIND:NAME=FILE", help="may be repeated"
    )
    parser.add_argument("--force", default="", metavar="REASON", help="offer what only numbers refuse; recorded")
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="the model card: .yaml or .json with fields, or .md with front matter"
    )
    parser.add_argument("--code-commit", default="", metavar="HEX", help="of the training code, 7 to 64 digits")
    parser.add_argument("--data-digest", metavar="SHA256", help="of the data's snapshot")
    parser.add_argument(
        "--environment", metavar="FILE|SHA256", help="the lock of the training environment; a file is kept"
    )
    parser.add_argument(
        "--forget-files", action="store_true", help="keep neither source nor data: it cannot be reproduced then"
    )
    parser.add_argument("--no-wait", action="store_true", help="return at once with the job")


def _models(api: Api, chosen: argparse.Namespace) -> int:
    rows = list(api.all("/models", archived="true" if chosen.archived else None))
    if chosen.json:
        print(shown.as_json(rows))
        return 0
    print(
        shown.table(
            ("MODEL", "VERSIONS", "LATEST", "ALIASES", "UPDATED"),
            [
                (row["name"], row["versions"], row["latest"], row["aliases"], shown.at(row["updated_at_s"]))
                for row in rows
            ],
        )
    )
    return 0


def _model(api: Api, chosen: argparse.Namespace) -> int:
    model = api.get(f"/models/{quoted(chosen.model)}")
    path = f"/models/{quoted(chosen.model)}"
    versions = list(api.all(f"{path}/versions", archived="true" if chosen.archived else None))
    rules = api.get(f"{path}/rules")["items"]
    if chosen.json:
        print(shown.as_json(model | {"all_versions": versions, "rules": rules}))
        return 0
    said: list[tuple[str, object]] = [
        ("model", model["name"]),
        ("description", model["description"]),
        ("aliases", model["aliases"]),
    ]
    said += [("rule", aliases.rule_words(rule)) for rule in rules]
    if model["card_required"]:
        said.append(("card must have", model["card_required"]))
    if model["archived_at_s"] is not None:
        said.append(("archived", shown.at(model["archived_at_s"])))
    print(shown.pairs(said))
    print()
    print(
        shown.table(
            ("VERSION", "SEQUENCE", "VARIANTS", "ALIASES", "RELEASE", "ADDED"),
            [
                (
                    f"{row['version']} (withdrawn: {row['withdrawn']})" if row["withdrawn"] else row["version"],
                    row["sequence"],
                    [f"{each['runtime']} {each['precision']}" for each in row["variants"]],
                    row["aliases"],
                    row["release"][:12],
                    shown.at(row["created_at_s"]),
                )
                for row in versions
            ],
        )
    )
    return 0


def _add_model(api: Api, chosen: argparse.Namespace) -> int:
    model = api.post("/models", {"name": chosen.model, "description": chosen.description})
    print(shown.as_json(model) if chosen.json else f"model {model['name']}")
    return 0


def _version(api: Api, chosen: argparse.Namespace) -> int:
    version = api.get(f"/models/{quoted(chosen.model)}/versions/{quoted(chosen.version)}")
    print(shown.as_json(version) if chosen.json else _version_words(version))
    return 0


def _version_words(version: dict[str, Any]) -> str:
    head = shown.pairs(
        [
            ("version", f"{version['model']} {version['version']}"),
            ("release", version["release"]),
            ("sequence", version["sequence"]),
            ("aliases", version["aliases"]),
            ("inputs", [f"{each['name']} {each['datatype']} {each['shape']}" for each in version["inputs"]]),
            ("outputs", [f"{each['name']} {each['datatype']} {each['shape']}" for each in version["outputs"]]),
            ("golden vectors", version["golden_vectors"]),
            ("added", f"{shown.at(version['created_at_s'])} by {version['actor']}"),
            *_lineage(version["lineage"]),
            *([("withdrawn", _withdrawn(version))] if version["withdrawn"] else []),
            *([("archived", shown.at(version["archived_at_s"]))] if version["archived_at_s"] is not None else []),
            *version["card_fields"].items(),
        ]
    )
    rows = [
        (
            each["runtime"],
            each["precision"],
            shown.size(each["size_bytes"]),
            (each["parity"] or {}).get("agreement"),
            (each["parity"] or {}).get("accuracy"),
            each["digest"][:12],
        )
        for each in version["variants"]
    ]
    return f"{head}\n\n{shown.table(('RUNTIME', 'PRECISION', 'SIZE', 'AGREEMENT', 'ACCURACY', 'DIGEST'), rows)}"


def _withdrawn(version: dict[str, Any]) -> str:
    return (
        f"{version['withdrawn']}, {shown.at(version['withdrawn_at_s'])} by {version['withdrawn_by']}: "
        f"{version['withdrawn_reason']}"
    )


def _lineage(lineage: dict[str, Any]) -> list[tuple[str, object]]:
    kept = " (the file is kept)" if lineage["environment_kept"] else ""
    source = f"{lineage['source']} {lineage['source_name']}".rstrip() if lineage["source"] else ""
    said = [
        ("code commit", lineage["code_commit"]),
        ("data", lineage["data_digest"]),
        ("environment", f"{lineage['environment']}{kept}" if lineage["environment"] else ""),
        ("source model", source),
    ]
    return [(name, value) for name, value in said if value]


def _add_version(api: Api, chosen: argparse.Namespace) -> int:
    if (chosen.file is None) == (chosen.draft is None):
        raise CallFailed("either a model file or --draft DIR", hint="see: pinnace version add --help")
    if chosen.file is not None and chosen.calibration is None:
        raise CallFailed("a model file needs --calibration DATA.npz", hint="some rows of raw inputs, by input name")
    card = cards.read(chosen.card) if chosen.card else cards.Card()
    cards.check(card, _made_sure_of(api, chosen.model))
    papers = _papers(api, chosen, card)
    if chosen.draft is not None:
        return _add_draft(api, chosen, papers)
    job = api.post(f"/models/{quoted(chosen.model)}/versions", _asked(api, chosen) | papers)
    if chosen.no_wait:
        print(shown.as_json(job) if chosen.json else job["id"])
        return 0
    return _ended(api, chosen, _followed(api, job))


def _made_sure_of(api: Api, model: str) -> dict[str, Any]:
    try:
        return api.get(f"/models/{quoted(model)}")
    except CallFailed as error:
        if error.status != 404:
            raise
        return api.post("/models", {"name": model})


def _papers(api: Api, chosen: argparse.Namespace, card: cards.Card) -> dict[str, object]:
    """Return what comes with a version besides its release."""
    lineage: dict[str, object] = {"code_commit": chosen.code_commit.lower()}
    if chosen.data_digest:
        lineage["data_digest"] = chosen.data_digest.lower()
    if chosen.environment and _DIGEST.fullmatch(chosen.environment.lower()):
        lineage["environment"] = chosen.environment.lower()
    elif chosen.environment:
        lineage |= {"environment": api.upload(Path(chosen.environment)), "environment_file": True}
    return {"card": card.text, "card_fields": card.fields, "lineage": lineage}


def _asked(api: Api, chosen: argparse.Namespace) -> dict[str, object]:
    asked: dict[str, object] = {
        "version": chosen.version,
        "source": api.upload(chosen.file),
        "source_name": chosen.file.name,
        "calibration": api.upload(chosen.calibration),
        "variants": [api.upload(each) for each in chosen.variant],
        "assets": [
            {"name": each["name"], "kind": each["kind"], "upload": api.upload(Path(each["path"]))}
            for each in chosen.asset
        ],
        "force": chosen.force,
        "keep_files": not chosen.forget_files,
    }
    if chosen.heldout:
        asked["heldout"] = api.upload(chosen.heldout)
    if chosen.processing:
        asked["declaration"] = _json(chosen.processing)
    if chosen.precisions:
        asked["precisions"] = chosen.precisions.split(",")
    return asked


def _followed(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    bar = shown.Bar()
    try:
        while job["state"] in ("queued", "running"):
            bar.show(job["stage"] or job["state"], job["share"])
            time.sleep(POLL_S)
            job = api.get(f"/jobs/{quoted(job['id'])}")
    except KeyboardInterrupt:
        bar.clear()
        api.post(f"/jobs/{quoted(job['id'])}/cancel")
        shown.say("cancelled; nothing was kept")
        raise
    bar.clear()
    return job


def _ended(api: Api, chosen: argparse.Namespace, job: dict[str, Any]) -> int:
    if job["state"] != "done":
        if chosen.json:
            print(shown.as_json(job))
        else:
            for candidate in (job["report"] or {}).get("candidates", []):
                for reason in candidate.get("reasons", []):
                    shown.say(f"  {shown.cell(candidate['name'])}: {shown.cell(reason, 400)}")
            shown.say(f"pinnace: the version was not made: {shown.cell(job['detail'] or job['state'], 1000)}")
        return 1
    version = api.get(f"/models/{quoted(chosen.model)}/versions/{quoted(chosen.version)}")
    print(shown.as_json(version | {"report": job["report"]}) if chosen.json else _version_words(version))
    return 0


def _add_draft(api: Api, chosen: argparse.Namespace, papers: dict[str, object]) -> int:
    draft = _json(chosen.draft / DRAFT_FILE)
    bar = shown.Bar()
    blobs = sorted((chosen.draft / BLOBS_FOLDER).iterdir())
    for n, blob in enumerate(blobs):
        bar.show(f"uploading {blob.name[:12]}", n / len(blobs))
        api.upload(blob)
    bar.clear()
    version = api.post(f"/models/{quoted(chosen.model)}/drafts", {"version": chosen.version, "draft": draft, **papers})
    print(shown.as_json(version) if chosen.json else _version_words(version))
    return 0


def _jobs(api: Api, chosen: argparse.Namespace) -> int:
    rows = list(api.all("/jobs"))
    if chosen.json:
        print(shown.as_json(rows))
        return 0
    print(
        shown.table(
            ("JOB", "VERSION", "STATE", "DONE", "STAGE", "BEGUN"),
            [
                (
                    row["id"],
                    f"{row['model']} {row['version']}",
                    row["state"],
                    f"{row['share']:.0%}",
                    row["detail"] or row["stage"],
                    shown.at(row["created_at_s"]),
                )
                for row in rows
            ],
        )
    )
    return 0


def _job(api: Api, chosen: argparse.Namespace) -> int:
    job = api.get(f"/jobs/{quoted(chosen.job)}")
    print(shown.as_json(job) if chosen.json else shown.pairs((name, job[name]) for name in job if name != "report"))
    return 0


def _cancel(api: Api, chosen: argparse.Namespace) -> int:
    job = api.post(f"/jobs/{quoted(chosen.job)}/cancel")
    print(shown.as_json(job) if chosen.json else f"job {job['id']}: stopping")
    return 0


def _updated(row: dict[str, Any]) -> str:
    return shown.at(row["updated_at_s"])


def _asset(text: str) -> dict[str, str]:
    kind, _, rest = text.partition(":")
    name, _, path = rest.partition("=")
    if not kind or not name or not path:
        raise argparse.ArgumentTypeError(f"expected KIND:NAME=FILE, found {text!r}")
    return {"kind": kind, "name": name, "path": path}


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise CallFailed(f"{path}: expected JSON, found {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CallFailed(f"{path} cannot be read: {error}") from error
