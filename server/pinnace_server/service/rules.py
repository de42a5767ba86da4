"""A rollout's policy and terms as its row keeps them: JSON in its one spelling, read once.

A row may have been written by a newer server, or damaged; what cannot be read of one rollout is that rollout's trouble.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from pinnace_contract import codec
from pinnace_contract.latest import Intent
from pinnace_server.domain.policy import ROLLBACK_TERMS, Terms
from pinnace_server.domain.records import Rollout
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.rollout_policy.policy import RolloutPolicy
from pinnace_server.errors import Unreadable

_READ_MAX: Final = 256  # rollouts that are active at once; reading one again costs a millisecond
_SAID_MAX: Final = 300  # characters of what is wrong: it stands in the log and on screens
_HINT: Final = "cancel it or move it back, or start the server that wrote it"


def policy_of(rollout: Rollout) -> RolloutPolicy | None:
    """Return the policy; None: a plain assignment, which has no waves and no gates.

    Raises:
        Unreadable
    """
    if not rollout.rules:
        return None
    try:
        return _read(rollout.rules)
    except Exception as error:  # whatever stands there: each part's reader raises its own
        raise _unreadable(rollout, "policy", error) from error


def terms_of(rollout: Rollout) -> Terms:
    """Return how its devices try the release. What moves devices back always has the same terms, and hangs on no row.

    Raises:
        Unreadable
    """
    if rollout.intent is Intent.UNKNOWN:
        raise Unreadable(f"the intent of rollout {rollout.id} cannot be read", hint=_HINT)
    try:
        return _read_terms(rollout.policy)
    except Exception as error:
        if rollout.intent is not Intent.UPGRADE:
            return ROLLBACK_TERMS
        raise _unreadable(rollout, "terms", error) from error


def unreadable(rollout: Rollout) -> str:
    """Return what of a rollout's row cannot be read; empty: all of it can. It begins nothing until then."""
    try:
        policy_of(rollout)
        terms_of(rollout)
    except Unreadable as error:
        return error.message
    return ""


def text_of(policy: RolloutPolicy) -> str:
    """Return a policy as a row keeps it."""
    return json.dumps(reading.plain(policy), sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=_READ_MAX)
def _read(text: str) -> RolloutPolicy:
    return reading.read(json.loads(text))


@lru_cache(maxsize=_READ_MAX)
def _read_terms(text: str) -> Terms:
    return codec.from_json(Terms, text.encode())


def _unreadable(rollout: Rollout, what: str, error: Exception) -> Unreadable:
    return Unreadable(f"the {what} of rollout {rollout.id} cannot be read: {error}"[:_SAID_MAX], hint=_HINT)
