"""Parameters that lists share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query

from pinnace_contract import ids
from pinnace_contract.ids import DeviceId, ModelName, RolloutId
from pinnace_server.domain.queries import LIMIT_MAX, OFFSET_MAX, Page
from pinnace_server.errors import NotFound


def _page(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many rows to return.")] = 50,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX, description="How many rows to pass over.")] = 0,
) -> Page:
    return Page(limit=limit, offset=offset)


def _device(device: Annotated[str, Path(description="A device's id.", max_length=63)]) -> DeviceId:
    return device_id(device)


def _model(model: Annotated[str, Path(description="A model's name.", max_length=63)]) -> ModelName:
    return model_name(model)


def _rollout(rollout: Annotated[str, Path(description="A rollout's id.", max_length=64)]) -> RolloutId:
    return rollout_id(rollout)


def device_id(text: str) -> DeviceId:
    """Return a device's id; what cannot be one is not here.

    Raises:
        NotFound
    """
    if not ids.fits(DeviceId, text):
        raise NotFound("device", text[:70])
    return DeviceId(text)


def model_name(text: str) -> ModelName:
    """Return a model's name; what cannot be one is not here.

    Raises:
        NotFound
    """
    if not ids.fits(ModelName, text):
        raise NotFound("model", text[:70])
    return ModelName(text)


def rollout_id(text: str) -> RolloutId:
    """Return a rollout's id; what cannot be one is not here.

    Raises:
        NotFound
    """
    if not ids.fits(RolloutId, text):
        raise NotFound("rollout", text[:70])
    return RolloutId(text)


Paged = Annotated[Page, Depends(_page)]
NamedDevice = Annotated[DeviceId, Depends(_device)]
NamedModel = Annotated[ModelName, Depends(_model)]
NamedRollout = Annotated[RolloutId, Depends(_rollout)]
VersionText = Annotated[str, Path(description="A version's name, or `@alias`.", max_length=65)]
ModelFilter = Annotated[str | None, Query(description="Only this model.", max_length=63)]
DeviceFilter = Annotated[str | None, Query(description="Only this device, by id.", max_length=63)]
VersionFilter = Annotated[str | None, Query(description="Only this version.", max_length=64)]
Archived = Annotated[bool, Query(description="Those that are archived, too.")]
AliasText = Annotated[str, Path(description="As `production`.", max_length=63)]
