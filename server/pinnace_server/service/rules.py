"""A rollout's policy as its row keeps it: JSON in its one spelling, read once."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from pinnace_server.domain.records import Rollout
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.rollout_policy.policy import RolloutPolicy

_READ_MAX: Final = 256  # rollouts that are active at once; reading one again costs a millisecond


def policy_of(rollout: Rollout) -> RolloutPolicy | None:
    """Return the policy; None: a plain assignment, which has no waves and no gates."""
    return _read(rollout.rules) if rollout.rules else None


def text_of(policy: RolloutPolicy) -> str:
    """Return a policy as a row keeps it."""
    return json.dumps(reading.plain(policy), sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=_READ_MAX)
def _read(text: str) -> RolloutPolicy:
    return reading.read(json.loads(text))
