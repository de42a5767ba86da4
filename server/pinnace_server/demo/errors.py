"""What can go wrong with the demo itself, said so that the reader knows what to do next."""

from __future__ import annotations


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
