"""Plays the story: hands in one version after the other, assigns it, and watches the API until it went as told.

Owns the order and the clock. It never steers a device: self-tests, trials, reverts and the fleet's rollback are the
agents' and the server's own doing, and a story that takes another turn is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import assert_never

from pinnace_server.demo import figures
from pinnace_server.demo.display import Board, Display, Row
from pinnace_server.demo.errors import ConversionRefused, StoryWentWrong
from pinnace_server.demo.figures import WORDS, Chapter, Figures, Images
from pinnace_server.demo.fleet import Assigned, Trial
from pinnace_server.demo.making import make
from pinnace_server.demo.stage import DEVICES, Stage
from pinnace_server.demo.story import AsTold, DeviceView, Task, Waiting, Wrong, judge
from pinnace_server.demo.versions import VERSIONS, DemoVersion, Fate, VersionFiles

LOOK_S = 0.5  # between two looks at the API
CHAPTER_S = 150.0  # the longest that one version may take; a quiet laptop needs a tenth of it
SETTLE_S = 30.0  # for every application to hear from the version that should serve now
TRIAL = Trial()


@dataclass(slots=True, kw_only=True)
class Play:
    """The story as far as it was played."""

    stage: Stage
    display: Display
    began_s: float = field(default_factory=time.monotonic)
    chapters: list[Chapter] = field(default_factory=list)
    serving: str | None = None

    def play(self) -> None:
        """Play every version.

        Raises:
            StoryWentWrong: something did not happen as told.
            DemoError: something else of the demo failed.
        """
        # One developer, who works on the next version while the fleet is busy with this one.
        developer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="developer")
        try:
            work = [developer.submit(make, version, self.stage.place.version(version.name)) for version in VERSIONS]
            for version, made in zip(VERSIONS, work, strict=True):
                self.chapters.append(self._chapter(version, made))
        finally:
            developer.shutdown(cancel_futures=True)

    def stay(self) -> None:
        """Let everything run on, until a child dies or Ctrl-C ends it."""
        while True:
            self._look("the story is over: Ctrl-C ends the demo", self.stage.fleet.devices())
            time.sleep(LOOK_S)

    def figures(self, problem: str = "") -> Figures:
        """Return what was measured so far."""
        return Figures(
            devices=DEVICES,
            chapters=tuple(self.chapters),
            images=self._images(),
            seconds=time.monotonic() - self.began_s,
            console=self.stage.fleet.url,
            problem=problem,
        )

    def _chapter(self, version: DemoVersion, made: Future[VersionFiles]) -> Chapter:
        self.display.say(f"version {version.name}: {version.title}")
        while not made.done():
            self._tell(f"training version {version.name}")
            wait([made], timeout=LOOK_S)
        precisions, refused = self._hand_in(version, made.result())
        before = self._images()
        assigned = self.stage.fleet.assign(version.name, TRIAL)
        if self.serving is None:
            self.stage.raise_the_curtain()
        verdict = self._watch(version, assigned)
        if version.fate is Fate.COMMITTED:
            self.serving = version.name
        self._settle()
        images = figures.since(before, self._images())
        if version.fate is Fate.FAILED and images.answered.get(version.name):
            raise StoryWentWrong(f"version {version.name} failed its self-test and answered all the same")
        why = f": {verdict.reason}" if verdict.reason else ""
        self.display.say(f"  {WORDS[version.fate]} on {DEVICES} devices in {verdict.seconds_last:.1f} s{why}")
        return Chapter(version=version, precisions=precisions, refused=refused, verdict=verdict, images=images)

    def _hand_in(self, version: DemoVersion, files: VersionFiles) -> tuple[tuple[str, ...], str]:
        """Register; where the converter refuses, do what the story's operator does.

        Returns what is offered, and the refusal.
        """
        converting = self._teller(f"converting version {version.name}")
        if not version.force_reason:
            return self.stage.fleet.register(version, files, force="", tell=converting), ""
        try:
            self.stage.fleet.register(version, files, force="", tell=converting)
        except ConversionRefused as refused:
            self.display.say(f"  refused by the converter: {refused.why}")
            self.display.say(f"  forced by the operator: {version.force_reason}")
            forced = self.stage.fleet.register(version, files, force=version.force_reason, tell=converting)
            return forced, refused.why
        raise StoryWentWrong(f"the converter accepted version {version.name}, which it should refuse")

    def _watch(self, version: DemoVersion, assigned: Assigned) -> AsTold:
        task = Task(version=version.name, previous=self.serving, fate=version.fate, assigned_at_s=assigned.at_s)
        deadline = time.monotonic() + CHAPTER_S
        while True:
            seen = self.stage.fleet.seen(assigned)
            verdict = judge(task, seen)
            match verdict:
                case AsTold():
                    return verdict
                case Wrong(problem=problem):
                    raise StoryWentWrong(problem)
                case Waiting(on=on):
                    if time.monotonic() >= deadline:
                        raise StoryWentWrong(f"version {version.name}: after {CHAPTER_S:.0f} s still waiting on {on}")
                    self._look(f"version {version.name}, {version.title}: waiting on {on}", seen.devices)
                case _:
                    assert_never(verdict)
            time.sleep(LOOK_S)

    def _settle(self) -> None:
        """Wait until every application hears from the version that the devices say they serve."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            others = {
                name: tally.newest for name, tally in self.stage.tallies().items() if tally.newest != self.serving
            }
            if not others:
                return
            if time.monotonic() >= deadline:
                raise StoryWentWrong(f"version {self.serving} should answer, but applications heard from {others}")
            self._look(f"version {self.serving} should answer everywhere", self.stage.fleet.devices())
            time.sleep(LOOK_S)

    def _look(self, headline: str, devices: tuple[DeviceView, ...]) -> None:
        self.stage.children.check()
        tallies = self.stage.tallies()
        rows = tuple(
            Row(
                device=device.name,
                serving=f"version {device.serving}" if device.serving else "no model",
                phase=str(device.phase) if device.online else "offline",
                cause="" if device.cause == "NONE" else str(device.cause),
                answered=tallies[device.name].answers,
                unanswered=tallies[device.name].without_answer,
                right_share=tallies[device.name].right_share,
            )
            for device in devices
            if device.name in tallies
        )
        self.display.show(Board(headline=headline, rows=rows))

    def _teller(self, doing: str) -> Callable[[str], None]:
        return lambda stage: self._tell(f"{doing}: {stage}" if stage else doing)

    def _tell(self, headline: str) -> None:
        self._look(headline, self.stage.fleet.devices())

    def _images(self) -> Images:
        return figures.total(self.stage.tallies().values())
