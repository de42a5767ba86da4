"""The agent's version, which presence, receipts and requirements speak of.

Written here and not read from the installed metadata, which costs a device 0.7 MiB. A test keeps it the package's.
"""

from __future__ import annotations

from typing import Final

AGENT_VERSION: Final = "0.1.0"
