"""The policy of a rehearsal: from a file, or from what ``pinnace rollout show R --json`` printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pinnace_server import policy_text
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.rollout_policy.policy import RolloutPolicy
from pinnace_server.errors import Refused
from pinnace_sim.errors import CannotRehearse


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A policy, and the release it was for where that is known. ``name`` is whose it is, for messages."""

    name: str
    policy: RolloutPolicy
    release: str = ""


def read(path: Path) -> Given:
    """Read a policy's file.

    Raises:
        CannotRehearse
    """
    try:
        tree = policy_text.parse(path.read_bytes())
    except OSError as error:
        raise CannotRehearse(f"--policy {path}: {error.strerror}") from error
    except Refused as refusal:
        raise CannotRehearse(f"--policy {path}: {refusal}") from refusal
    return given(str(path), tree)


def given(name: str, tree: Mapping[str, object]) -> Given:
    """Return a policy from its tree, or from that of a rollout or a preview, which has it in it.

    Raises:
        CannotRehearse
    """
    release = ""
    inner = tree.get("policy", tree)
    if inner is None:
        raise CannotRehearse(f"policy {name} cannot be played: it is a plain assignment's, which has no waves")
    if "policy" in tree and isinstance(tree.get("model"), str) and isinstance(tree.get("version"), str):
        release = f"{tree['model']}@{tree['version']}"
    try:
        return Given(name=name, policy=reading.read(inner), release=release)
    except Refused as refusal:
        raise CannotRehearse(f"policy {name} cannot be played: {refusal}") from refusal
