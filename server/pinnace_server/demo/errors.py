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


class ServerSaidNo(DemoError):
    """The server refused something that the demo asked, or took too long."""

    def __init__(self, *, asked: str, status: int | None, said: str) -> None:
        self.asked, self.status, self.said = asked, status, said
        answer = "no answer" if status is None else f"status {status}"
        super().__init__(f"the server refused {asked} ({answer}): {said}")


class ConversionRefused(DemoError):
    """The converter refused a version; ``why`` is its report."""

    def __init__(self, *, version: str, why: str) -> None:
        self.version, self.why = version, why
        super().__init__(f"version {version} was refused by the converter: {why}")


class StoryWentWrong(DemoError):
    """Something else happened than the story tells; what, says the message."""


class PathTooLong(DemoError):
    """The devices' Unix sockets would not fit into the names that the kernel allows."""

    def __init__(self, *, folder: Path, bytes_over: int) -> None:
        self.folder, self.bytes_over = folder, bytes_over
        super().__init__(
            f"{folder} is {bytes_over} bytes too long for the devices' Unix sockets: name a shorter --data-dir"
        )


class FolderInUse(DemoError):
    """The folder holds something already; the story begins with an empty one."""

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        super().__init__(
            f"the demo begins with an empty folder, and {folder} is not: name another --data-dir, remove that one, "
            "or leave --data-dir out for a temporary one"
        )
