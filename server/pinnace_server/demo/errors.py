"""What can go wrong with the demo itself, said so that the reader knows what to do next."""

from __future__ import annotations

from pathlib import Path


class DemoError(Exception):
    """The demo cannot go on. The message is for the person at the terminal."""


class DemoExtraMissing(DemoError):
    """A package that only the demo needs is not installed."""

    def __init__(self, *, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"the demo needs {package}, which is not installed here: run `pip install 'pinnace[{extra}]'`, "
            "or `make demo`, which makes an environment that has it"
        )


class ProgramMissing(DemoError):
    """One of this project's own programs is not installed here."""

    def __init__(self, *, name: str, looked_in: Path) -> None:
        self.name, self.looked_in = name, looked_in
        super().__init__(
            f"the demo starts {name}, which is neither in {looked_in} nor on the PATH: install this project into the "
            "environment that runs the demo, as `make demo` does"
        )


class ChildFailed(DemoError):
    """A program that the demo started ended when it should not have, or with an error."""

    def __init__(self, *, name: str, log: Path | None, said: str) -> None:
        self.name, self.log, self.said = name, log, said
        where = f"; all of it is in {log}" if log is not None else ""
        super().__init__(f"{name} failed{where}. Its last words:\n{said or '(nothing)'}")
