"""What fleets are told that they can notice."""

from pinnace_server.domain.gates import foresight
from pinnace_server.domain.gates.foresight import Fleet
from pinnace_server.domain.gates.settings import Settings

LARGE = Fleet(candidates=200, controls=50, inferences_a_day=1440.0, error_rate=0.01)


def test_a_large_fleet_notices_a_doubling_within_a_few_hours() -> None:
    found = foresight.foresee(LARGE, Settings(), hours=4.0)
    assert found.error_ratio is not None
    assert found.error_ratio <= 2.5
    assert found.p95_percent is not None
    assert found.p95_percent <= 25
    assert found.text.startswith("this fleet can notice error ratios above ×")
    assert found.text.endswith("within 4 hours")


def test_more_time_and_more_devices_never_notice_less() -> None:
    ratios = [foresight.foresee(LARGE, Settings(), hours).error_ratio or 1e9 for hours in (0.25, 1.0, 4.0, 24.0)]
    assert ratios == sorted(ratios, reverse=True)
    small = Fleet(candidates=8, controls=2, inferences_a_day=1440.0, error_rate=0.01)
    assert (foresight.foresee(small, Settings(), 24.0).error_ratio or 1e9) >= ratios[-1]


def test_ten_inferences_a_day_on_three_devices_notice_nothing() -> None:
    found = foresight.foresee(
        Fleet(candidates=2, controls=1, inferences_a_day=10.0, error_rate=0.01), Settings(), hours=24.0
    )
    assert found.text == "this fleet can notice no error ratio and no change of p95 within 24 hours"
