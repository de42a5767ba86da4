"""The child of the measurement: ``python -m planner_tick WHAT DATA DEVICES TIMES KIND`` prints one JSON object.

It measures itself alone, so that its memory is that of a server that ticks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' building blocks are found from the root alone

from planner_tick import filling, ticks

if __name__ == "__main__":
    what, data, devices, times, kind = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    do = {"fill": filling.fill, "play": ticks.play, "begin": ticks.begin, "plan": ticks.plan}[what]
    print(json.dumps(do(data, devices, times, kind)))
