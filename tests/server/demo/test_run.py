"""The play: it goes through the story in order, and says what went wrong where the story took another turn."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from pinnace_contract.latest import Cause, Outcome, Phase
from pinnace_server.demo import run
from pinnace_server.demo.application import Tally
from pinnace_server.demo.display import PlainLines
from pinnace_server.demo.errors import ChildFailed, ConversionRefused, StoryWentWrong
from pinnace_server.demo.fleet import Assigned, Trial
from pinnace_server.demo.run import Play
from pinnace_server.demo.stage import Place, Stage
from pinnace_server.demo.story import DeviceView, Ending, Rollback, Seen
from pinnace_server.demo.versions import DemoVersion, VersionFiles, files_in

ENDINGS = {
    "1": (Outcome.COMMITTED, Cause.NONE),
    "2": (Outcome.FAILED, Cause.GOLDEN_MISMATCH),
    "3": (Outcome.REVERTED, Cause.MEMORY_EXCEEDED),
    "4": (Outcome.COMMITTED, Cause.NONE),
    "5": (Outcome.COMMITTED, Cause.NONE),
}
REFUSAL = "agreement 0.305; expected 0.98"


class World:
    """A stage on which everything happens at once: fleet, children and applications in one."""

    def __init__(self, endings: dict[str, tuple[Outcome, Cause]]) -> None:
        self.endings, self.url, self.token = endings, "http://127.0.0.1:8080", "secret"
        self.place = Place(folder=Path("nowhere"))
        self.forced: list[tuple[str, str]] = []
        self.assigned: list[str] = []
        self.serving: str | None = None
        self.curtain = 0
        self.refuses = True
        self.dead: str | None = None

    @property
    def fleet(self) -> World:
        return self

    @property
    def children(self) -> World:
        return self

    def check(self) -> None:
        if self.dead:
            raise ChildFailed(name=self.dead, log=None, said="")

    def raise_the_curtain(self) -> None:
        self.curtain += 1

    def tallies(self) -> dict[str, Tally]:
        return {"device-1": Tally(answered={self.serving or "": 7}, newest=self.serving)}

    def register(
        self, version: DemoVersion, files: VersionFiles, *, force: str, tell: Callable[[str], None]
    ) -> tuple[str, ...]:
        tell("converting")
        if version.force_reason and not force and self.refuses:
            raise ConversionRefused(version=version.name, why=REFUSAL)
        self.forced.append((version.name, force))
        return tuple(map(str, version.precisions))

    def assign(self, version: str, trial: Trial) -> Assigned:
        self.assigned.append(version)
        if self.endings[version][0] is Outcome.COMMITTED and version != "4":
            self.serving = version
        return Assigned(rollout=f"r-{version}", at_s=100.0)

    def devices(self) -> tuple[DeviceView, ...]:
        return (
            DeviceView(id="d", name="device-1", online=True, serving=self.serving, phase=Phase.IDLE, cause=Cause.NONE),
        )

    def seen(self, assigned: Assigned) -> Seen:
        version = self.assigned[-1]
        outcome, cause = self.endings[version]
        endings = [Ending(device="d", version=version, outcome=outcome, cause=cause, detail="", at_s=104.0)]
        rollbacks: tuple[Rollback, ...] = ()
        if version == "4":
            back = Ending(device="d", version="1", outcome=Outcome.COMMITTED, cause=Cause.NONE, detail="", at_s=112.0)
            endings.append(back)
            rollbacks = (Rollback(version="4", reason="58% below", at_s=110.0),)
        return Seen(devices=self.devices(), endings=tuple(endings), rollbacks=rollbacks)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "make", lambda _version, folder: files_in(folder))
    monkeypatch.setattr(run, "LOOK_S", 0)


def play_in(world: World) -> tuple[Play, io.StringIO]:
    output = io.StringIO()
    return Play(stage=cast(Stage, world), display=PlainLines(output)), output


def test_every_version_is_played_in_order_and_the_refused_one_is_forced() -> None:
    world = World(ENDINGS)
    play, output = play_in(world)
    play.play()
    assert world.assigned == ["1", "2", "3", "4", "5"]
    assert [name for name, force in world.forced if force] == ["2"]
    assert world.curtain == 1
    assert [chapter.refused for chapter in play.chapters] == ["", REFUSAL, "", "", ""]
    figures = play.figures()
    assert figures.chapters[3].verdict.noticed_s == 10
    assert "version 4: trained on images shifted by one pixel" in output.getvalue()
    assert f"refused by the converter: {REFUSAL}" in output.getvalue()


def test_a_version_that_ends_otherwise_stops_the_play_with_what_was_found() -> None:
    world = World(ENDINGS | {"3": (Outcome.COMMITTED, Cause.NONE)})
    play, _ = play_in(world)
    with pytest.raises(StoryWentWrong, match=r"version 3: expected reverted .* found committed"):
        play.play()
    assert [chapter.version.name for chapter in play.chapters] == ["1", "2"]
    assert play.figures("it went wrong").problem == "it went wrong"


def test_a_converter_that_lets_the_bad_version_pass_is_a_wrong_turn() -> None:
    world = World(ENDINGS)
    world.refuses = False
    play, _ = play_in(world)
    with pytest.raises(StoryWentWrong, match="accepted version 2, which it should refuse"):
        play.play()


def test_a_version_that_answered_although_it_failed_its_self_test_is_a_wrong_turn() -> None:
    world = World(ENDINGS)
    counts = iter(range(1, 1000))
    world.tallies = lambda: {"device-1": Tally(answered={"2": next(counts)}, newest=world.serving)}  # type: ignore[method-assign]
    play, _ = play_in(world)
    with pytest.raises(StoryWentWrong, match="failed its self-test and answered all the same"):
        play.play()


def test_an_application_that_hears_from_another_version_is_a_wrong_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SETTLE_S", 0)
    world = World(ENDINGS)
    world.tallies = lambda: {"device-1": Tally(newest="0")}  # type: ignore[method-assign]
    play, _ = play_in(world)
    with pytest.raises(StoryWentWrong, match=r"version 1 should answer, but applications heard from .*'0'"):
        play.play()


def test_a_fleet_that_never_gets_there_ends_the_play_with_what_it_waits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CHAPTER_S", 0)
    world = World(ENDINGS)
    world.seen = lambda _: Seen(devices=world.devices(), endings=(), rollbacks=())  # type: ignore[method-assign]
    play, _ = play_in(world)
    with pytest.raises(StoryWentWrong, match="version 1: after 0 s still waiting on device-1"):
        play.play()


def test_a_child_that_dies_ends_the_play_and_the_stay() -> None:
    world = World(ENDINGS)
    world.dead = "device-1"
    play, _ = play_in(world)
    with pytest.raises(ChildFailed, match="device-1 failed"):
        play.play()
    with pytest.raises(ChildFailed, match="device-1 failed"):
        play.stay()
