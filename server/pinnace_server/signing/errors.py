"""What can go wrong in signing. Each message says what was expected, what was found and what an operator can do."""

from __future__ import annotations

from pathlib import Path


class SigningError(Exception):
    """The signer did not sign."""


class GenerationRefused(SigningError):
    """A generation that would move a device backwards, or give one number two meanings."""

    def __init__(self, *, device: str, asked: int, highest: int) -> None:
        self.device, self.asked, self.highest = device, asked, highest
        problem = (
            f"generation {asked} was already signed with other entries"
            if asked == highest
            else f"generation {asked} is smaller than {highest}, the highest signed"
        )
        super().__init__(f"device {device}: {problem}; a change needs generation {highest + 1} or more")


class SetRefused(SigningError):
    """An assignment set that cannot be signed as it stands."""

    def __init__(self, *, device: str, problem: str) -> None:
        self.device, self.problem = device, problem
        super().__init__(f"device {device}: {problem}")


class ReleaseRefused(SigningError):
    """Bytes that are not a release, or not the release they are called."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"release: {problem}")


class KeyRefused(SigningError):
    """A key file is missing, open to others, unreadable or not the one that the root metadata names."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        super().__init__(f"{path}: {problem}")


class StoreDamaged(SigningError):
    """The signer's store does not hold what was written to it. Signing on would re-issue versions, so it stops."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        super().__init__(
            f"{path}: {problem}. Nothing is signed, so that no version number is used twice; restore the folder "
            "from a backup of the same or a later moment"
        )
