"""Runs a list of passes and keeps the record of each; a failure names the pass and those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pinnace_contract.latest import PassRecord
from pinnace_converters.errors import ConversionError, PassFailed
from pinnace_converters.passes.model_pass import ModelBytes, Pass


def run(
    passes: Sequence[Pass], model: ModelBytes, say: Callable[[str], None]
) -> tuple[ModelBytes, tuple[PassRecord, ...]]:
    """Return the last pass's model and one record per pass.

    Raises:
        PassFailed: a pass could not run, failed, or did not keep what it promises.
        ConversionError: a pass refused the model itself.
    """
    records: list[PassRecord] = []
    for each in passes:
        done = [record.name for record in records]
        say(each.name)
        if problem := each.requires(model):
            raise PassFailed(each.name, done, problem)
        try:
            result = each.run(model)
        except (ConversionError, MemoryError):
            raise
        except Exception as error:  # a library may raise anything at a foreign model; the reader needs the pass's name
            raise PassFailed(each.name, done, f"{type(error).__name__}: {error}") from error
        if problem := each.ensures(model, result.model):
            raise PassFailed(each.name, done, problem)
        records.append(
            PassRecord(
                name=each.name,
                tool=each.tool,
                parameters=each.parameters,
                input=model.digest,
                output=result.model.digest,
                notes=result.notes,
            )
        )
        model = result.model
    return model, tuple(records)
