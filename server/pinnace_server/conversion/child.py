"""The child: ``python -m pinnace_server.conversion.child``. Reads one request, converts, tells how far it is.

It speaks one line of JSON at a time. It is cancelled when its standard input ends, which is also how it notices that
the server is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_converters.conversion import convert
from pinnace_converters.errors import ConversionError, NoVariant
from pinnace_converters.progress import Progress
from pinnace_server.conversion.asked import options_of
from pinnace_server.service.conversions import ConversionRequest

REQUEST_BYTES_MAX = ConversionRequest.BYTES_MAX + 64 * 1024


class _CancelledError(Exception):
    """The server wants the conversion no more."""


def main() -> int:
    """Convert what standard input asks for, into the folder it names."""
    asked = json.loads(sys.stdin.buffer.readline(REQUEST_BYTES_MAX))
    folder = Path(asked["folder"])
    request = codec.from_json(ConversionRequest, asked["request"].encode())
    cancelled = threading.Event()
    threading.Thread(target=_wait_for_end, args=(cancelled,), daemon=True).start()

    def tell(progress: Progress) -> None:
        if cancelled.is_set():
            raise _CancelledError
        if progress.what:
            _say({"what": progress.what, "share": progress.done / max(progress.total, 1)})

    heldout = folder / request.heldout_file if request.heldout else None
    try:
        draft = convert(
            folder / request.source_file,
            folder / request.calibration_file,
            heldout,
            options_of(request, folder),
            folder / "draft",
            tell,
        )
    except _CancelledError:
        return 1
    except ConversionError as error:
        report = codec.plain(error.report) if isinstance(error, NoVariant) else None
        _say({"code": error.code.value, "message": str(error), "report": report})
        return 1
    except ContractError as error:
        _say({"code": error.code.value, "message": f"the result is not a draft: {error}", "report": None})
        return 1
    _say({"report": codec.plain(draft.report)})
    return 0


def _wait_for_end(cancelled: threading.Event) -> None:
    # Not through sys.stdin: a thread that waits inside its lock would keep the interpreter from ending.
    while os.read(0, 1024):
        pass
    cancelled.set()


def _say(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 -- this is how the server hears


if __name__ == "__main__":
    sys.exit(main())
