"""Write the golden file of each example that has none yet: ``python -m tests.contract.make_golden``.

A golden file is never changed: devices in the field speak it. A message that must change gets a new field with a
default, and a new example beside the old one.
"""

from __future__ import annotations

from pathlib import Path

import pinnace_contract
from pinnace_contract import codec
from pinnace_contract.desired import Desired
from pinnace_contract.latest import Data
from tests.contract import examples

GOLDEN = Path(pinnace_contract.__file__).parent / "golden" / "v1"

DATA = Data(blob=examples.digest("weights-7"), index=3, payload=b"chunk bytes")
DESIRED = Desired(timestamp=b'{"t":1}', snapshot=b'{"s":1}', targets=b'{"x":1}')


def expected() -> dict[str, bytes]:
    """Return the name and bytes of every golden file, as this version of the code writes them."""
    files = {f"{message.KIND}.json": codec.to_json(message) for message in examples.JSON_EXAMPLES}
    files["assignment-set-withdrawn.json"] = codec.to_json(examples.WITHDRAWING_SET)
    files["report.cbor"] = codec.to_cbor(examples.REPORT)
    files["data.bin"] = DATA.to_bytes()
    files["desired.bin"] = DESIRED.to_bytes()
    return files


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, data in expected().items():
        if not (GOLDEN / name).exists():
            (GOLDEN / name).write_bytes(data)
            print("wrote", name)
