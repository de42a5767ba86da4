"""Write the transcript of every scenario, or of those named: ``python -m tests.sim.make_golden [NAME …]``.

A transcript changes with the product: read what is different before you commit it, and ask whether it still tells the
story that ``docs/simulator.md`` says must happen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pinnace_sim.scenarios import cases, transcript

GOLDEN = Path(__file__).parent / "golden"


def path_of(name: str) -> Path:
    """Return where a scenario's transcript lies."""
    return GOLDEN / f"{name}.jsonl"


def main(names: Sequence[str]) -> int:
    """Write what is different, and say what is not as it must be."""
    wrong = 0
    GOLDEN.mkdir(exist_ok=True)
    for name in names or tuple(cases.BY_NAME):
        played = transcript.play(cases.find(name))
        text = "".join(f"{line}\n" for line in played.transcript)
        path = path_of(name)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print("wrote", name)
        for problem in played.problems:
            print(f"{name}: {problem}")
            wrong += 1
    if not names:
        for path in GOLDEN.glob("*.jsonl"):
            if path.stem not in cases.BY_NAME:
                path.unlink()
                print("removed", path.stem)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
