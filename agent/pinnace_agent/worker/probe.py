"""``python -m pinnace_agent.worker.probe RUNTIME``: load and run a tiny model, print the library's name and version.

A child process of its own for each runtime, because a library that does not fit the board may end the process.
"""

from __future__ import annotations

import sys

from pinnace_contract.latest import Runtime
from pinnace_runtime.adapters import onnx_runtime, tflite
from pinnace_runtime.errors import RuntimeMissing


def main() -> int:
    """Return 0 and print the version, or 1 where this device does not have the runtime."""
    try:
        if Runtime(sys.argv[1]) is Runtime.ONNX:
            onnx_runtime.probe()
            print(onnx_runtime.OnnxModel(onnx_runtime.PROBE_MODEL, threads=1).version)  # noqa: T201  # the answer
        else:
            tflite.probe()
            print(tflite.TfliteModel(tflite.PROBE_MODEL, threads=1).version)  # noqa: T201  # the answer
    except RuntimeMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
