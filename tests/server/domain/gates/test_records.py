"""That an audit can work out a verdict again, and notices one that does not follow."""

import copy
import json
from dataclasses import replace

import pytest

from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import records, verdicts
from pinnace_server.domain.gates.evidence import ClassCounts, Guard, InstallResult, WaveEvidence
from pinnace_server.domain.gates.records import Plain
from pinnace_server.domain.gates.settings import PromoteOn, Settings
from pinnace_server.errors import Refused
from tests.server.domain.gates.fleets import arms, counts, installs, series, wave

SETTINGS = Settings(waves=3, promote_on=PromoteOn.UNREFUTED)


def everything() -> WaveEvidence:
    devices = tuple(
        replace(
            each,
            limited={Guard.SHADOW: counts(100, 1)},
            groups={"few": series((500, 5), (60, 1)), "most": series((900, 9), (90, 1))},
            outcome=series((500, 50), (100, 10)),
            classes=ClassCounts(past=(50, 40, 10), now=(20, 60, 20)),
        )
        for each in arms([(120, 6)] * 12, [(120, 1)] * 12)
    )
    return wave(devices, limits={Guard.SHADOW: 0.02}, installs=installs(1, 12, InstallResult.GOLDEN_MISMATCH))


def kept(evidence: WaveEvidence) -> dict[str, Plain]:
    found = records.record(verdicts.judge(evidence, SETTINGS), evidence, SETTINGS)
    read: dict[str, Plain] = json.loads(json.dumps(found))
    return read


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param(everything(), id="every guard"),
        pytest.param(wave(arms([(120, 1)] * 6, [(120, 1)] * 2)), id="a quiet one"),
        pytest.param(wave(()), id="nobody"),
        pytest.param(wave(arms([(120, 1)] * 6, [(120, 1)] * 2), asked={Guard.OUTCOME: "acepted"}), id="nobody tells"),
    ],
)
def test_verdict_follows_from_its_record(evidence: WaveEvidence) -> None:
    record = kept(evidence)
    assert records.recompute(record) == verdicts.judge(evidence, SETTINGS)
    assert records.holds(record)


def test_a_record_from_before_there_were_classes_is_still_worked_out() -> None:
    record = kept(wave(arms([(120, 1)] * 6, [(120, 1)] * 2)))
    evidence = record["evidence"]
    assert isinstance(evidence, dict)
    devices = evidence["devices"]
    assert isinstance(devices, list)
    for each in devices:
        assert isinstance(each, dict)
        assert each.pop("classes") is None
    assert records.holds(record)


def test_a_record_from_before_a_wave_waited_for_what_nobody_tells_is_still_worked_out() -> None:
    record = kept(wave(arms([(120, 1)] * 6, [(120, 1)] * 2), elapsed_min=1.0))
    evidence, verdict = record["evidence"], record["verdict"]
    assert isinstance(evidence, dict)
    assert isinstance(verdict, dict)
    assert evidence.pop("asked") == {}
    assert verdict["grounds"] == [
        {"reason": "exposure_time", "found": 1.0, "needed": 30.0, "guard": None, "device": None}
    ]
    assert records.holds(record)


def test_a_record_whose_metric_was_changed_does_not_hold() -> None:
    text = json.dumps(kept(wave(arms([(120, 1)] * 6, [(120, 1)] * 2), asked={Guard.OUTCOME: "acepted"})))
    assert records.holds(json.loads(text))
    assert not records.holds(json.loads(text.replace('"asked": {"outcome": "acepted"}', '"asked": {}')))


def test_a_record_whose_verdict_was_changed_does_not_hold() -> None:
    record = copy.deepcopy(kept(everything()))
    verdict = record["verdict"]
    assert isinstance(verdict, dict)
    verdict["decision"] = "promote_proven"
    assert not records.holds(record)


def test_a_record_whose_evidence_was_changed_does_not_hold() -> None:
    text = json.dumps(kept(everything()))
    assert '"bad": 6' in text
    assert not records.holds(json.loads(text.replace('"bad": 6', '"bad": 1', 1)))


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"rules": "gates-0"}, id="other rules"),
        pytest.param({"evidence": {}}, id="no evidence"),
        pytest.param({"settings": []}, id="settings that are none"),
    ],
)
def test_an_unreadable_record_is_refused(broken: dict[str, Plain]) -> None:
    with pytest.raises(Refused, match="expected a"):
        records.recompute(kept(everything()) | broken)


def test_a_record_names_the_arms_in_the_contract_s_words() -> None:
    assert f'"{Arm.CANDIDATE}"' in json.dumps(kept(everything()))
