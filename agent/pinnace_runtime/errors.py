"""What can go wrong when a model is loaded or asked: the runtime's, the release's, and the caller's faults."""

from __future__ import annotations

from enum import StrEnum


class InferenceCode(StrEnum):
    """Stable codes; the worker answers requests and the supervisor with them."""

    RUNTIME_MISSING = "RUNTIME_MISSING"
    LOAD_FAILED = "LOAD_FAILED"
    STEP_UNSUPPORTED = "STEP_UNSUPPORTED"
    CONTRACT_MISMATCH = "CONTRACT_MISMATCH"
    ARRAYS_INVALID = "ARRAYS_INVALID"
    RUN_FAILED = "RUN_FAILED"
    BAD_INPUT = "BAD_INPUT"


class InferenceError(Exception):
    """Root of what this package raises."""

    code: InferenceCode = InferenceCode.RUN_FAILED


class RuntimeMissing(InferenceError):
    """This device cannot execute such variants: no library for them, or one that does not work here."""

    code = InferenceCode.RUNTIME_MISSING

    def __init__(self, runtime: str, tried: str, problem: str) -> None:
        self.runtime, self.tried = runtime, tried
        super().__init__(f"no working runtime for {runtime} variants (tried {tried}): {shortened(problem)}")


class LoadFailed(InferenceError):
    """The runtime refuses the model file, or the file has something that no release may have."""

    code = InferenceCode.LOAD_FAILED

    def __init__(self, runtime: str, problem: str) -> None:
        self.runtime = runtime
        super().__init__(f"{runtime} does not load this model: {shortened(problem)}")


class StepUnsupported(InferenceError):
    """The release declares a step that this program does not know or cannot do here; leaving it out would be wrong."""

    code = InferenceCode.STEP_UNSUPPORTED

    def __init__(self, step: str, problem: str) -> None:
        self.step = step
        super().__init__(f"step {step!r}: {problem}")


class ContractMismatch(InferenceError):
    """Release and variant do not fit together: a tensor that is not there, a type or shape that no step explains."""

    code = InferenceCode.CONTRACT_MISMATCH


class ArraysInvalid(InferenceError):
    """A file of arrays is not what it should be: no archive, too large, objects inside, wrong or missing names."""

    code = InferenceCode.ARRAYS_INVALID


class RunFailed(InferenceError):
    """The model was given what it asked for and still did not answer."""

    code = InferenceCode.RUN_FAILED

    def __init__(self, runtime: str, problem: str) -> None:
        self.runtime = runtime
        super().__init__(f"{runtime} failed on this input: {shortened(problem)}")


class BadInput(InferenceError):
    """The caller's fault: a tensor is missing, unknown, or of another type or shape than the contract says."""

    code = InferenceCode.BAD_INPUT

    def __init__(self, tensor: str, expected: str, found: str) -> None:
        self.tensor, self.expected, self.found = tensor, expected, found
        super().__init__(f"input {shortened(tensor)!r}: expected {expected}, found {shortened(found)}")


_SHOWN_CHARS = 300  # a runtime's message may quote the model, which is hostile, or fill a screen


def shortened(text: str) -> str:
    """Return foreign text on one line, printable and bounded."""
    line = " ".join(text.split())
    plain = "".join(char if char.isprintable() else "?" for char in line)
    return plain if len(plain) <= _SHOWN_CHARS else plain[: _SHOWN_CHARS - 1] + "…"
