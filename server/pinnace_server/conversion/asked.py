"""From a request and the folder that holds its files to the converter's options."""

from __future__ import annotations

from pathlib import Path

from pinnace_converters.options import AssetFile, Options
from pinnace_server.service.conversions import ConversionRequest


def options_of(request: ConversionRequest, folder: Path) -> Options:
    """Return what the converter is told; ``folder`` holds ``request.files()`` under their names."""
    return Options(
        declaration=request.declaration,
        precisions=request.precisions,
        variants=tuple(folder / f"variant-{n}.tflite" for n in range(len(request.variants))),
        assets=tuple(
            AssetFile(name=asset.name, kind=asset.kind, path=folder / f"asset-{n}")
            for n, asset in enumerate(request.assets)
        ),
        force=request.force,
        agreement_min=request.agreement_min,
        accuracy_loss_max=request.accuracy_loss_max,
        seed=request.seed,
    )
