"""Aliases: where they point and pointed, their rules, and promotion."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from pinnace_server.domain.aliases import REASON_CHARS_MAX, AliasRule
from pinnace_server.domain.records import AliasName
from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.paging import AliasText, NamedModel, Paged, VersionFilter
from pinnace_server.http.schemas import aliases as bodies
from pinnace_server.http.schemas.body import Listed, listed
from pinnace_server.http.schemas.catalogue import Model

router = APIRouter(tags=["aliases"])
_ALIAS = "/models/{model}/aliases/{alias}"


@router.put(_ALIAS, responses=errors(400, 401, 404, 409, 422, 503), summary="Point an alias at a version")
def point(served: Served, actor: Actor, model: NamedModel, alias: AliasText, target: bodies.AliasTarget) -> Model:
    """Make an alias, or let it point at another version. One that has a rule is promoted instead, or forced."""
    moved = served.aliases.point(model, alias, target.version, actor, reason=target.reason, force=target.force)
    return Model.of(moved)


@router.delete(
    _ALIAS,
    status_code=204,
    responses=errors(400, 401, 404, 409, 422, 503),
    summary="Remove an alias",
    response_description="The alias is gone.",
)
def unpoint(
    served: Served,
    actor: Actor,
    model: NamedModel,
    alias: AliasText,
    reason: Annotated[str, Query(description="Why.", max_length=REASON_CHARS_MAX)] = "",
    force: Annotated[bool, Query(description="Go over the alias's rule; needs a reason.")] = False,
) -> None:
    """Remove an alias; the version stays, and the history."""
    served.aliases.unpoint(model, alias, actor, reason=reason, force=force)


@router.get(f"{_ALIAS}/history", responses=errors(401, 404, 422, 503), summary="Show what an alias pointed at")
def history(served: Served, _: Actor, model: NamedModel, alias: AliasText, page: Paged) -> Listed[bodies.AliasStretch]:
    """Return what an alias pointed at, from when to when, who moved it and why, the newest first."""
    found = served.aliases.history(model, page, alias=alias)
    return listed([bodies.AliasStretch.of(each) for each in found.rows], found.total, page)


@router.get(
    "/models/{model}/alias-history",
    responses=errors(401, 404, 422, 503),
    summary="Show what a model's aliases pointed at",
)
def model_history(
    served: Served, _: Actor, model: NamedModel, page: Paged, version: VersionFilter = None
) -> Listed[bodies.AliasStretch]:
    """Return what every alias of a model pointed at, the newest first."""
    found = served.aliases.history(model, page, version=version)
    return listed([bodies.AliasStretch.of(each) for each in found.rows], found.total, page)


@router.get("/models/{model}/rules", responses=errors(401, 404, 422, 503), summary="List the rules of aliases")
def rules(served: Served, _: Actor, model: NamedModel) -> Listed[bodies.Rule]:
    """Return the rules by which a model's aliases move, by alias."""
    found = [bodies.Rule.of(rule) for rule in served.aliases.rules(model)]
    return Listed(items=found, total=len(found), next=None)


@router.put(f"{_ALIAS}/rule", responses=errors(400, 401, 404, 422, 503), summary="Give an alias a rule")
def set_rule(served: Served, actor: Actor, model: NamedModel, alias: AliasText, new: bodies.NewRule) -> bodies.Rule:
    """Say by what rule an alias moves from now on. What it points at stays."""
    rule = AliasRule(
        model=model,
        alias=AliasName(alias),
        source=AliasName(new.source),
        rollout=bodies.RuleNeed.ROLLOUT in new.needs,
        failures_max=new.failures_max,
        approvals=new.approvals,
    )
    return bodies.Rule.of(served.aliases.set_rule(rule, actor))


@router.delete(
    f"{_ALIAS}/rule",
    status_code=204,
    responses=errors(401, 404, 422, 503),
    summary="Take an alias's rule away",
    response_description="The alias has no rule.",
)
def remove_rule(served: Served, actor: Actor, model: NamedModel, alias: AliasText) -> None:
    """Let an alias be set by hand again. The log says who took its rule away."""
    served.aliases.remove_rule(model, alias, actor)


@router.get(f"{_ALIAS}/promotion", responses=errors(401, 404, 422, 503), summary="Show how a promotion stands")
def promotion(served: Served, _: Actor, model: NamedModel, alias: AliasText) -> bodies.Promotion:
    """Return which version is in line for an alias that has a rule, and what its promotion lacks."""
    return bodies.Promotion.of(served.aliases.standing(model, alias))


@router.post(f"{_ALIAS}/promotion", responses=errors(400, 401, 404, 409, 422, 503), summary="Promote a version")
def promote(served: Served, actor: Actor, model: NamedModel, alias: AliasText, new: bodies.NewPromotion) -> Model:
    """Let an alias point at what its source points at. If its rule is not met, the error says what is missing."""
    moved = served.aliases.promote(model, alias, source=new.source, version=new.version, actor=actor, reason=new.reason)
    return Model.of(moved)


@router.post(
    f"{_ALIAS}/approvals",
    status_code=201,
    responses=errors(400, 401, 404, 409, 422, 503),
    summary="Approve a promotion",
)
def approve(
    served: Served, actor: Actor, model: NamedModel, alias: AliasText, new: bodies.NewApproval
) -> bodies.Approval:
    """Approve the version that is in line. Approving again only makes it newer; it counts for one promotion."""
    return bodies.Approval.of(served.aliases.approve(model, alias, new.version, actor, new.note))


@router.delete(
    f"{_ALIAS}/approvals/{{version}}",
    status_code=204,
    responses=errors(401, 404, 422, 503),
    summary="Take an approval back",
    response_description="The approval is gone.",
)
def withdraw(
    served: Served,
    actor: Actor,
    model: NamedModel,
    alias: AliasText,
    version: Annotated[str, Path(description="The version that the caller approved.", max_length=64)],
) -> None:
    """Take back the caller's own approval, as long as it was not used."""
    served.aliases.withdraw(model, alias, version, actor)
