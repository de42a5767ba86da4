"""From files to a draft: inspects the source, tries the candidates, and lays down the results.

Owns the order, and what becomes of a failure: one of the source ends the conversion, one of a candidate refuses that
candidate. Hostile files are opened by children in ``sandbox.py``; this process sees numbers and bytes.
"""

from __future__ import annotations

from pathlib import Path

from pinnace_contract import codec
from pinnace_contract.ids import digest_of
from pinnace_contract.latest import Golden
from pinnace_converters import (
    baselines,
    candidates,
    chunks,
    data,
    given,
    jobs,
    output_folder,
    parity,
    sandbox,
    vectors,
)
from pinnace_converters.candidates import Offered, Reference, Tried
from pinnace_converters.draft import ConversionReport, Draft, Source
from pinnace_converters.errors import DeclarationInvalid, NoVariant
from pinnace_converters.given import Given
from pinnace_converters.jobs import Inspected
from pinnace_converters.options import Options
from pinnace_converters.progress import Steps, Tell
from pinnace_converters.tools import tools


def convert(source: Path, calibration: Path, heldout: Path | None, options: Options, out: Path, tell: Tell) -> Draft:
    """Convert a model file and leave ``draft.json`` and ``blobs/<sha256>`` in ``out``: all of it, or nothing.

    Raises:
        ConversionError: what was expected, what was found, and what would help.
    """
    output_folder.check(out)
    had = given.read(source, calibration, heldout, options)
    steps = Steps(tell)
    reference = _inspect(had, steps)
    wanted = candidates.wanted(had, reference.found.census)
    steps.total = 1 + sum(1 if each.content is not None else 2 for each in wanted)
    tried = [candidates.attempt(each, had, reference, steps) for each in wanted]
    offered = [each.offered for each in tried if each.offered is not None]
    if not offered:
        raise NoVariant(_report(had, reference, tried))
    _refuse_twins(offered)
    golden_bytes = vectors.make(had.rows.heldout, reference.answers, reference.chosen)
    baseline = baselines.make(reference.found.contract, had.rows.calibration, [each.answers for each in offered])
    baseline_bytes = codec.to_json(baseline)
    draft = Draft(
        contract=reference.found.contract,
        processing=options.declaration.processing,
        variants=tuple(each.variant for each in offered),
        assets=tuple(asset for asset, _ in had.assets),
        golden=Golden(
            blob=chunks.cut(golden_bytes),
            vectors=len(reference.chosen),
            tolerances=tuple(each.tolerance for each in offered),
        ),
        baseline=chunks.cut(baseline_bytes),
        expectations=options.declaration.expectations,
        requirements=options.declaration.requirements,
        report=_report(had, reference, tried),
    )
    contents = [golden_bytes, baseline_bytes, *(content for _, content in had.assets)]
    contents += [each.content for each in offered]
    output_folder.write(out, {digest_of(content): content for content in contents}, draft.to_json())
    steps.end()
    return draft


def _inspect(had: Given, steps: Steps) -> Reference:
    tick = steps.begin("source")
    job = jobs.Inspect(runtime=had.runtime, declaration=had.options.declaration, assets=had.asset_names)
    work = sandbox.Work(
        name="source",
        job=job,
        files=had.files({jobs.HELDOUT: data.as_bytes(had.rows.heldout)}),
        wanted={jobs.ANSWERS: data.DATA_BYTES_MAX},
    )
    found, files = sandbox.run(work, Inspected, had.options.limits, tick)
    answers = candidates.answers_of(files[jobs.ANSWERS], found, had.rows.heldout.count)
    return Reference(
        found=found,
        answers=answers,
        accuracy=parity.accuracy(found.contract, answers, had.rows.heldout.labels),
        chosen=vectors.choose(found.contract, had.rows.heldout, answers),
    )


def _refuse_twins(offered: list[Offered]) -> None:
    """A device chooses by runtime and precision, and the tolerances are told apart by them."""
    kinds = [(each.variant.runtime, each.variant.precision) for each in offered]
    twins = sorted({f"{runtime} {precision}" for runtime, precision in kinds if kinds.count((runtime, precision)) > 1})
    if twins:
        raise DeclarationInvalid(f"two variants are {twins[0]}; expected one of each kind in a release")


def _report(had: Given, reference: Reference, tried: list[Tried]) -> ConversionReport:
    return ConversionReport(
        source=Source(
            name=had.name,
            digest=digest_of(had.content),
            size_bytes=len(had.content),
            runtime=had.runtime,
            census=reference.found.census,
            accuracy=reference.accuracy,
        ),
        candidates=tuple(each.candidate for each in tried),
        calibration_rows=had.rows.calibration.count,
        heldout_rows=had.rows.heldout.count,
        held_out=had.rows.held_out,
        seed=had.options.seed,
        force=had.options.force,
        notes=(*had.rows.notes, *reference.found.notes),
        tools=tools(),
    )
