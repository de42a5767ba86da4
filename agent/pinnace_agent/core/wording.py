"""Text that came from elsewhere, made fit for messages: bounded, whole characters, nothing that steers a terminal.

A worker runs hostile files, so what it says may be anything; a state or a receipt that cannot be encoded would stop the
agent at its one commit point.
"""

from __future__ import annotations

from typing import Final

LOG_BYTES_MAX: Final = 16 * 1024  # of a receipt; also its limit in characters
_LOG_HEAD_BYTES: Final = 2 * 1024  # the beginning names the failure, the end the last words
_LOG_MARK: Final = "\n…\n"
_KEPT: Final = "\n\t"
_STRANGE: Final = "\N{REPLACEMENT CHARACTER}"


def clean(text: str) -> str:
    """Return the text with everything replaced that is neither printable nor a line break or tab."""
    return "".join(char if char.isprintable() or char in _KEPT else _STRANGE for char in text)


def shortened(text: str, chars_max: int) -> str:
    """Return clean text of at most so many characters."""
    text = clean(text[: chars_max + 1])
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def clipped(log: str) -> str:
    """Return the beginning and the end of a log that is longer than a receipt carries."""
    data = clean(log).encode()
    if len(data) <= LOG_BYTES_MAX:
        return data.decode()
    tail_bytes = LOG_BYTES_MAX - _LOG_HEAD_BYTES - len(_LOG_MARK.encode())
    head, tail = data[:_LOG_HEAD_BYTES], data[-tail_bytes:]
    return head.decode(errors="ignore") + _LOG_MARK + tail.decode(errors="ignore")
