"""``python -m pinnace_server.cli``."""

import sys

from pinnace_server.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
