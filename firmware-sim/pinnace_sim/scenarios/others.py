"""The rows of "Hard cases" in ``lifecycle.md``, and for each what of it waits for a part, or is shown by a test."""

from __future__ import annotations

from typing import Final

from pinnace_sim.scenarios.form import Shown, Waits

HARD_CASES: Final = (
    "server restored from yesterday's backup",
    "off for 90 days across two root rotations and a CA change",
    "clock at 1970 or 2040",
    "stick of Monday, MQTT of Wednesday, stick inserted Friday",
    "WAN cut in mid-wave",
    "two rollouts want one device",
    "will overtakes birth",
    "broker lost its retained messages",
    "broker, URL or CA moves",
    "site must not be mixed",
    "profile a candidate on a device",
    "a second agent on the same store; the same identity from another store",
    "how fast is a rollback",
    "which keys signed this",
    "a pipeline registers a version, and a rollout starts at 3 a.m.",
    "the stolen director key",
    "old agent, new server",
)

WAITS: Final = (
    Waits(
        case="off for 90 days across two root rotations and a CA change",
        part="Trust",
        reason="root ceremonies, certificates and their renewal with the old key",
    ),
    Waits(case="clock at 1970 or 2040", part="Trust", reason="`time_reset`, signed by the root threshold"),
    Waits(
        case="stick of Monday, MQTT of Wednesday, stick inserted Friday",
        part="Delivery",
        reason="bundles on sticks; a replayed set by MQTT is shown",
    ),
    Waits(
        case="broker, URL or CA moves",
        part="Delivery",
        reason="endpoints that are tried like a release, and the way back to the previous list",
    ),
    Waits(case="profile a candidate on a device", part="Trust", reason="delegations with a purpose"),
    Waits(case="which keys signed this", part="Trust", reason="levels above `dev`, and devices that enforce them"),
    Waits(
        case="a pipeline registers a version, and a rollout starts at 3 a.m.",
        part="Rollouts",
        reason="unattended rollouts under a standing mandate; the keys of `ceremony` models wait for Trust",
    ),
    Waits(
        case="the stolen director key",
        part="Trust",
        reason="keys of the director and the image repository apart, so that one of them can be stolen",
    ),
    Waits(case="old agent, new server", part="Delivery", reason="a tagged agent that is older than this server"),
)

SHOWN: Final = (
    Shown(
        case="a second agent on the same store; the same identity from another store",
        test="tests/agent/test_store.py::test_second_agent_on_the_same_store_is_refused_by_pid",
        reason="the lock is the file system's, between two processes",
    ),
    Shown(
        case="the stolen director key",
        test="tests/agent/test_trust.py::test_a_release_that_only_the_director_names_waits",
        reason="what the image repository does not list is not installed, whoever assigns it",
    ),
    Shown(
        case="old agent, new server",
        test="tests/contract/test_codec.py::test_every_example_has_its_golden_file",
        reason="messages of every version are read for ever",
    ),
)
