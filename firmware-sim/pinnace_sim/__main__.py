"""``python -m pinnace_sim``."""

import sys

from pinnace_sim.cli import main

if __name__ == "__main__":
    sys.exit(main())
