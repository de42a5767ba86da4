"""What a pass is: a name, what it needs, what it does, what must hold afterwards. Knows no model format's library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from pinnace_contract.ids import Digest, digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBytes:
    """A model file between two passes."""

    content: bytes

    @property
    def digest(self) -> Digest:
        """What a provenance record calls it."""
        return digest_of(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a pass made, and what a reader of the provenance record should know."""

    model: ModelBytes
    modified: bool
    notes: tuple[str, ...] = field(default=())


class Pass(ABC):
    """One step of a variant's making. Heavy libraries are imported inside its functions.

    ``name`` is how records and errors call it, ``parameters`` what it was told, in one line.
    """

    name: str
    parameters: str

    @property
    @abstractmethod
    def tool(self) -> str:
        """The library that does the work, with its version."""

    def requires(self, model: ModelBytes) -> str | None:  # noqa: B027 -- nothing is what most passes need
        """Return why it cannot run on this model; None, as here, if it can."""

    @abstractmethod
    def run(self, model: ModelBytes) -> Result:
        """Do the work.

        Raises:
            ModelRefused: the model is one that nobody may have.
            Exception: anything else is this pass's failure.
        """

    def ensures(self, before: ModelBytes, after: ModelBytes) -> str | None:  # noqa: B027 -- as above
        """Return what is wrong with the result; None, as here, if nothing."""
