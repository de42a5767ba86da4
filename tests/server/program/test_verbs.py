"""The command line against a server that runs: what people read, what programs read, and how it fails."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pinnace_server import admin_token
from pinnace_server.cli import main, rollouts, shown
from tests.brokers import running_mosquitto
from tests.needs import need
from tests.server.program.running import Serving, serving


@dataclass
class Terminal:
    """Where verbs are typed."""

    server: Serving
    folder: Path
    captured: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def run(self, *words: str, status: int = 0) -> str:
        self.captured.readouterr()
        found = main(words)
        said = self.captured.readouterr()
        assert found == status, said.out + said.err
        return said.out if status == 0 or "--json" in words else said.out + said.err

    def json(self, *words: str) -> object:
        return json.loads(self.run(*words, "--json"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    with (
        running_mosquitto(need("mosquitto"), folder / "broker") as broker,
        serving(folder, "--broker", broker.url) as made,
    ):
        yield made


@pytest.fixture
def terminal(
    server: Serving, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Terminal:
    monkeypatch.chdir(server.folder)
    monkeypatch.setenv("PINNACE_SERVER", server.url)
    monkeypatch.delenv("PINNACE_TOKEN", raising=False)
    return Terminal(server=server, folder=tmp_path, captured=capsys, monkeypatch=monkeypatch)


@pytest.fixture
def model_files(tmp_path: Path) -> Path:
    """A linear classifier of four numbers, and rows that it gets right."""
    random = np.random.default_rng(7)
    weights = np.eye(4, 3, dtype=np.float32) * 4
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    rows = random.normal(size=(64, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=rows, labels=np.argmax(rows @ weights, axis=1))
    return tmp_path


@pytest.mark.slow
def test_model_file_becomes_a_version_and_a_converted_folder_another(terminal: Terminal, model_files: Path) -> None:
    data = str(model_files / "data.npz")
    said = terminal.run(
        "version", "add", "linear", "1", str(model_files / "model.onnx"), "--calibration", data, "--precisions", "fp32"
    )
    assert "linear 1" in said
    assert "fp32" in said
    out = str(model_files / "out")
    terminal.run(
        "convert", str(model_files / "model.onnx"), "--calibration", data, "--out", out, "--precisions", "fp32"
    )
    terminal.run("version", "add", "linear", "2", "--draft", out)
    terminal.run("alias", "linear", "production", "2")
    versions = terminal.json("model", "show", "linear")
    assert isinstance(versions, dict)
    assert [(each["version"], each["aliases"]) for each in versions["all_versions"]] == [
        ("2", ["production"]),
        ("1", []),
    ]
    assert "done" in terminal.run("job", "list")
    again = terminal.run("version", "add", "linear", "2", "--draft", out, status=1)
    assert "a version never changes" in again


@pytest.mark.slow
def test_model_that_is_refused_says_why_and_leaves_nothing(terminal: Terminal, model_files: Path) -> None:
    (model_files / "model.onnx").write_bytes(b"not a model")
    said = terminal.run(
        "version",
        "add",
        "hostile",
        "1",
        str(model_files / "model.onnx"),
        "--calibration",
        str(model_files / "data.npz"),
        status=1,
    )
    assert "the version was not made" in said
    assert "hostile 1" in terminal.run("job", "list")
    assert "-" in terminal.run("model", "list")


def test_devices_are_told_apart_and_labelled(terminal: Terminal) -> None:
    made = terminal.json("token", "create", "--uses", "2", "--life", "7d", "--label", "site=lyon", "--note", "line 3")
    assert isinstance(made, dict)
    assert made["claim"]["labels"] == {"site": "lyon"}
    assert terminal.run("token", "create", "--quiet").startswith("pnc1.")
    assert "line 3" in terminal.run("token", "list")
    terminal.run("token", "revoke", made["claim"]["id"])
    assert terminal.json("device", "list") == []
    assert "DEVICE" in terminal.run("device", "list", "--selector", "site=lyon, has camera")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("device", "show", "none"), "there is no device 'none'"),
        (("assign", "none", "1"), "there is no model 'none'"),
        (("device", "list", "--selector", "=x"), "expected a condition at character 1"),
        (("version", "add", "m", "1"), "either a model file or --draft"),
        (("version", "add", "m", "1", "/none.onnx"), "needs --calibration"),
        (("token", "create", "--label", "a=b "), "not a label's value"),
        (("rollout", "cancel", "r-none"), "there is no rollout"),
    ],
)
def test_error_is_one_line_with_what_to_do(terminal: Terminal, words: tuple[str, ...], said: str) -> None:
    text = terminal.run(*words, status=1)
    assert said in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, ""),
        ({}, ""),
        (
            {"cpu_share": 0.123, "memory_free_bytes": 512 << 20, "memory_total_bytes": 1 << 30, "disk_free_bytes": 900},
            "processor 12 % busy, 512.0 MiB of memory free of 1.0 GiB, 900 B of disk free",
        ),
        (
            {"memory_free_bytes": 1 << 20, "temperature_c": 71.4, "throttled": True},
            "1.0 MiB of memory free, 71 °C, throttled",
        ),
    ],
)
def test_health_is_said_in_units(found: dict[str, object] | None, said: str) -> None:
    assert shown.health(found) == said


def test_error_as_json_has_its_code(terminal: Terminal) -> None:
    text = terminal.run("device", "show", "none", "--json", status=1)
    assert json.loads(text)["error"]["code"] == "NOT_FOUND"


def test_log_is_printed_oldest_first(terminal: Terminal) -> None:
    terminal.run("model", "add", "noted")
    lines = [line for line in terminal.run("events").splitlines() if "noted" in line or "server_started" in line]
    assert "server_started" in lines[0]
    events = [json.loads(line) for line in terminal.run("events", "--json", "--kind", "model_added").splitlines()]
    assert {event["kind"] for event in events} == {"model_added"}


def test_status_tells_what_runs(terminal: Terminal) -> None:
    assert "configured broker" in terminal.run("status")


def test_fleet_is_exported_to_a_file_or_printed(terminal: Terminal) -> None:
    printed = terminal.json("export", "fleet")
    assert isinstance(printed, dict)
    assert (printed["format"], printed["format_version"], printed["devices"]) == ("pinnace-fleet", 1, [])
    assert "total" not in printed
    out = terminal.folder / "fleet.json"
    assert "0 device(s)" in terminal.run("export", "fleet", "--out", str(out), "--anonymous")
    written = json.loads(out.read_text())
    assert (written["anonymous"], set(written)) == (True, set(printed))
    said = terminal.run("export", "fleet", "--out", str(terminal.folder / "none" / "fleet.json"), status=1)
    assert "No such file or directory" in said


def test_token_of_another_server_is_refused(terminal: Terminal) -> None:
    terminal.monkeypatch.setenv("PINNACE_TOKEN", "wrong")
    assert "needs the admin token" in terminal.run("model", "list", status=1)


def test_without_a_token_it_says_where_to_find_one(terminal: Terminal, tmp_path: Path) -> None:
    terminal.monkeypatch.chdir(tmp_path)
    assert "no admin token is known" in terminal.run("model", "list", status=1)
    token = admin_token.read(terminal.server.folder / "pinnace-data")
    assert token is not None
    terminal.monkeypatch.setenv("PINNACE_TOKEN", token)
    terminal.run("model", "list")


@pytest.mark.parametrize(
    ("server_url", "said"), [("http://127.0.0.1:1", "no server answers"), ("ftp://x", "is no server's address")]
)
def test_server_that_is_not_there_is_a_clear_error(terminal: Terminal, server_url: str, said: str) -> None:
    assert said in terminal.run("model", "list", "--server", server_url, status=1)


def test_what_devices_say_cannot_steer_the_terminal() -> None:
    assert shown.cell("\x1b[31mred\x07\nline") == "�[31mred��line"
    assert "\x1b" not in shown.table(("NAME",), [("\x1b]0;title\x07",)])


def _ended(device: str, state: str, cause: str = "NONE", detail: str = "") -> dict[str, object]:
    return {"device": device, "state": state, "waiting_on": None, "cause": cause, "detail": detail}


def test_who_did_not_commit_is_named_with_the_whole_reason() -> None:
    detail = f"the golden vectors are answered {'very ' * 20}differently here; the largest difference is 0.85"
    said = rollouts.left_words("r-1", [_ended("a", "committed"), _ended("b", "failed", "GOLDEN_MISMATCH", detail)])
    _, *rows = said.splitlines()
    assert [row.split(maxsplit=4) for row in rows] == [["b", "failed", "-", "GOLDEN_MISMATCH", detail]]


def test_who_did_not_commit_is_counted_where_there_are_many() -> None:
    many = [_ended(f"camera-{number}", "superseded") for number in range(rollouts.LEFT_SHOWN_MAX + 7)]
    *listed, last = rollouts.left_words("r-1", many).splitlines()
    assert len(listed) == 1 + rollouts.LEFT_SHOWN_MAX
    assert last == "and 7 more; all of them: pinnace rollout show r-1"
    assert "NONE" not in "".join(listed)


def test_closed_pipe_ends_it_quietly(terminal: Terminal) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            return 99

    terminal.monkeypatch.setattr("sys.stdout", Closed())
    terminal.monkeypatch.setattr("os.dup2", lambda *_: 0)
    assert main(["model", "list"]) == 0


def test_a_mistyped_rollout_is_no_success_of_the_audit(terminal: Terminal) -> None:
    assert "there is no rollout 'r-nope'" in terminal.run("audit", "verify", "--rollout", "r-nope", status=1)
