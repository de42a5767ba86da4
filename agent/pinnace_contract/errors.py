"""What can be wrong with bytes from the other side: one root, one class per cause that a caller may tell apart."""

from __future__ import annotations

from enum import StrEnum


class ContractCode(StrEnum):
    """Stable wire codes; they appear in rejected messages' log entries and in API errors."""

    TOO_LARGE = "TOO_LARGE"
    MALFORMED = "MALFORMED"
    BAD_FIELD = "BAD_FIELD"
    BAD_TOPIC = "BAD_TOPIC"
    BAD_ENVELOPE = "BAD_ENVELOPE"


class ContractError(Exception):
    """The other side sent something that the contract does not allow. Never worth a retry with the same bytes."""

    code: ContractCode = ContractCode.MALFORMED


class TooLarge(ContractError):
    """The message is over its limit and was not parsed."""

    code = ContractCode.TOO_LARGE

    def __init__(self, what: str, size_bytes: int, size_bytes_max: int) -> None:
        self.what, self.size_bytes, self.size_bytes_max = what, size_bytes, size_bytes_max
        super().__init__(f"{what} has {size_bytes} bytes; the limit is {size_bytes_max}")


class Malformed(ContractError):
    """The bytes are not the format they should be (JSON, CBOR, zlib, a chunk header)."""

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"{what}: {problem}")


class BadField(ContractError):
    """A field is missing, of another type than stated, or outside its limits."""

    code = ContractCode.BAD_FIELD

    def __init__(self, path: str, expected: str, found: object) -> None:
        self.path, self.expected = path, expected
        self.found = _shortened(found)
        super().__init__(f"{path}: expected {expected}, found {self.found}")


class BadTopic(ContractError):
    """A topic outside the grammar of ``topics.py``, or an id that cannot stand in one."""

    code = ContractCode.BAD_TOPIC

    def __init__(self, topic: str, problem: str) -> None:
        self.topic = _shortened(topic)
        super().__init__(f"topic {self.topic}: {problem}")


class BadEnvelope(ContractError):
    """An envelope whose parts do not fit together; a wrong signature is the caller's own error."""

    code = ContractCode.BAD_ENVELOPE

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"signed envelope: {problem}")


_SHOWN_CHARS = 80  # enough to recognise a value, too little to fill a log with a hostile one


def _shortened(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
