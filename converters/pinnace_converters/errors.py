"""What can stop a conversion: the model's fault, the data's, the declaration's, a pass, the sandbox, or the gates."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pinnace_converters.draft import ConversionReport


class ConversionCode(StrEnum):
    """Stable codes; jobs of the server end with them."""

    MODEL_REFUSED = "MODEL_REFUSED"
    DATA_INVALID = "DATA_INVALID"
    DECLARATION_INVALID = "DECLARATION_INVALID"
    PASS_FAILED = "PASS_FAILED"  # noqa: S105 -- a converter's pass
    SANDBOX_ENDED = "SANDBOX_ENDED"
    NO_VARIANT = "NO_VARIANT"
    OUTPUT_UNUSABLE = "OUTPUT_UNUSABLE"


class ConversionError(Exception):
    """Root of what this package raises. Its text is for the person who handed the model in."""

    code: ConversionCode = ConversionCode.PASS_FAILED


class ModelRefused(ConversionError):
    """The model file is none that this program takes: hostile, damaged, or with something that no release may have."""

    code = ConversionCode.MODEL_REFUSED


class DataInvalid(ConversionError):
    """Calibration or held-out data: wrong names, shapes, types or counts."""

    code = ConversionCode.DATA_INVALID


class DeclarationInvalid(ConversionError):
    """The declared processing, names, classes or limits are not in the contract's form."""

    code = ConversionCode.DECLARATION_INVALID


class PassFailed(ConversionError):
    """A pass could not do its work, or did it wrongly; says which and what ran before it."""

    code = ConversionCode.PASS_FAILED

    def __init__(self, name: str, before: Sequence[str], problem: str) -> None:
        self.name, self.before, self.problem = name, tuple(before), problem
        done = ", ".join(before) or "nothing"
        super().__init__(f"pass {name!r} failed: {problem} (done before it: {done})")


class SandboxEnded(ConversionError):
    """The child process that held the model was ended by a limit, a signal or itself."""

    code = ConversionCode.SANDBOX_ENDED

    def __init__(self, work: str, problem: str) -> None:
        self.work, self.problem = work, problem
        super().__init__(f"{work}: {problem}")


class NoVariant(ConversionError):
    """Every candidate was refused; there is nothing to release. Carries the report of what was tried."""

    code = ConversionCode.NO_VARIANT

    def __init__(self, report: ConversionReport) -> None:
        self.report = report
        refused = [f"{each.name}: {', '.join(each.reasons)}" for each in report.candidates]
        super().__init__("no variant passed its checks: " + "; ".join(refused))


class OutputUnusable(ConversionError):
    """The folder for the results cannot take them."""

    code = ConversionCode.OUTPUT_UNUSABLE
