"""What can go wrong in signing. Each message says what was expected, what was found and what an operator can do."""

from __future__ import annotations

from pathlib import Path

from pinnace_server.errors import SigningRefused, StartRefused, Unavailable


class GenerationRefused(SigningRefused):
    """A generation that would move a device backwards, or give one number two meanings."""

    def __init__(self, *, device: str, asked: int, highest: int) -> None:
        self.device, self.asked, self.highest = device, asked, highest
        problem = (
            f"generation {asked} was already signed with other entries"
            if asked == highest
            else f"generation {asked} is smaller than {highest}, the highest signed"
        )
        super().__init__(f"device {device}: {problem}", hint=f"a change needs generation {highest + 1} or more")


class EraRefused(SigningRefused):
    """A generation that was reserved before the server was put back from a backup."""

    def __init__(self, *, device: str, asked: int, era: int) -> None:
        self.device, self.asked, self.era = device, asked, era
        super().__init__(
            f"device {device}: generation {asked} is of an era that is over, this server is in era {era}",
            hint="if the database was put back from a backup: stop the server and run pinnace restore",
        )


class SetRefused(SigningRefused):
    """An assignment set that cannot be signed as it stands."""

    def __init__(self, *, device: str, problem: str) -> None:
        self.device, self.problem = device, problem
        super().__init__(f"device {device}: the assignment set cannot be signed: {problem}")


class ReleaseRefused(SigningRefused):
    """Bytes that are not a release, or not the release they are called."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"not a release file: {problem}")


class NotSignable(SigningRefused):
    """The content has no canonical form; TUF's canonical JSON has no fractions."""

    def __init__(self, role: str) -> None:
        super().__init__(f"{role}: not every value has a canonical form to sign (fractions have none)")


class KeyRefused(StartRefused):
    """A key file is missing, open to others, unreadable or not the one that the root metadata names."""

    def __init__(self, path: Path, problem: str, *, hint: str = "restore the file from a backup") -> None:
        self.path = path
        super().__init__(f"{path}: {problem}", hint=hint)


class StoreDamaged(StartRefused):
    """The signer's store does not hold what was written to it. Signing on would re-issue versions, so it stops."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        super().__init__(
            f"{path}: {problem}",
            hint="nothing is signed, so that no version number is used twice: restore the folder from its last backup",
        )


class StoreUnavailable(Unavailable):
    """The store could not be read or written now: locked, full or read-only. Nothing was issued."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        super().__init__(f"{path}: {problem}", hint="nothing was issued; try again when that is mended")
