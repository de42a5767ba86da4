"""What verbs print of the API's answers, as a stranger would read it."""

from __future__ import annotations

from pinnace_server.cli.fleet import device_words
from tests.server.http.conftest import Api
from tests.server.http.test_steering import get
from tests.server.service.test_variant_profiles import measured, version


def test_device_show_says_which_variant_and_why(api_server: Api) -> None:
    server = api_server.server
    _, devices = measured(server)
    rollout = server.climb(version(server, "2"), waves=["rest"], holdback=None)
    answer = get(api_server, f"/devices/{devices[0].id}")
    (choice,) = answer["variants"]
    assert (choice["rule"], choice["order"]) == ("the fastest", ["int8-static", "fp32"])
    lines = [" ".join(line.split()) for line in device_words(answer).splitlines()[-4:]]
    assert lines == [
        f"digits 2 rollout {rollout.id}; the policy asks for the fastest",
        "variant int8-static because 4 ms p95 on test, fp32 11 ms; from 3 receipts of version 1",
        "if it fails then fp32",
        "on test fp32 not measured; int8-static not measured",
    ]
