"""``python -m pinnace_agent``."""

from __future__ import annotations

import sys

from pinnace_agent.cli import main

sys.exit(main())
