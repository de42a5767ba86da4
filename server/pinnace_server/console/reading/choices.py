"""Which variant a device was dealt, as its page shows it. Pure: what has to be looked up is given."""

from __future__ import annotations

from pinnace_server.console.shown_choices import Choice, DealtVariant
from pinnace_server.service.variant_choices import VariantChoice


def choice(found: VariantChoice) -> Choice:
    """Return a choice with its variants in the order in which the device tries them; the others come last."""
    places = {name: place for place, name in enumerate(found.order, 1)}
    rows = [
        DealtVariant(
            name=each.variant,
            place=places.get(each.variant),
            p95_ms=each.p95_ms,
            results=each.results,
            believed=each.believed,
        )
        for each in found.measured
    ]
    return Choice(
        model=found.model,
        version=found.version,
        rollout=found.rollout,
        rule=found.rule,
        why=found.why,
        hardware=found.hardware,
        variants=tuple(sorted(rows, key=lambda each: each.place or len(rows) + 1)),
    )
