"""Makes the files of one version in a process of its own, as a developer elsewhere would, on one core.

Owns that process. numpy's threads wait for each other by spinning: on a machine that is busy with six other programs of
the demo, training on two cores took three times as long as on one, and they must be told before numpy is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pinnace_server.demo import processes
from pinnace_server.demo.errors import DemoError
from pinnace_server.demo.versions import VERSIONS, DemoVersion, VersionFiles, files_in, write

ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def make(version: DemoVersion, folder: Path) -> VersionFiles:
    """Train a version in a child process and return its files.

    Raises:
        ChildFailed: with what the child said, such as which package is missing.
    """
    processes.run([sys.executable, "-m", __name__, version.name, folder], settings=ONE_CORE)
    return files_in(folder)


def _main(name: str, folder: Path) -> None:
    from pinnace_server.demo.digits import load_splits

    version = next(version for version in VERSIONS if version.name == name)
    write(version.make(load_splits()), folder)


if __name__ == "__main__":
    try:
        _main(sys.argv[1], Path(sys.argv[2]))
    except DemoError as error:
        sys.exit(str(error))
