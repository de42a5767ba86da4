"""What the runtime's pipeline needs of a release and a variant, before either exists."""

from __future__ import annotations

from dataclasses import dataclass

from pinnace_contract.latest import Binding, IoContract, Processing


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Contract and steps of the release to be."""

    contract: IoContract
    processing: Processing


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Bindings of the variant to be."""

    inputs: tuple[Binding, ...] = ()
    outputs: tuple[Binding, ...] = ()
