"""What a client is told when there is no answer: one class for each thing that an application does differently."""

from __future__ import annotations


class ClientError(Exception):
    """Root of what the client raises on purpose."""


class NotReachable(ClientError):
    """There is no agent here, or not for this user."""


class Unavailable(ClientError):
    """The model cannot be asked just now; ``retry_after_s`` says when to try again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{message} (try again in {retry_after_s} s)")


class Refused(ClientError):
    """The request was wrong: the message says what was expected. The same request will be refused again."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class InferenceFailed(ClientError):
    """The model was asked and failed on this input."""


class BadAnswer(ClientError):
    """What came back is not of this protocol: the other end is no agent, or another version of it."""
