"""What a conversion was handed, read once and bounded; nothing of it is parsed here but the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinnace_contract.latest import Asset, Precision, Runtime
from pinnace_converters import chunks, data, declaration, jobs
from pinnace_converters.errors import DeclarationInvalid, ModelRefused
from pinnace_converters.options import Options

BUILT: Final = (Precision.FP32, Precision.INT8_STATIC)
REASON_CHARS_MAX: Final = 512
_TFLITE_MAGIC: Final = b"TFL3"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyFile:
    """A variant that somebody else made."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Source, data, assets and ready variants as bytes."""

    name: str
    content: bytes
    runtime: Runtime
    rows: data.Split
    assets: tuple[tuple[Asset, bytes], ...]
    ready: tuple[ReadyFile, ...]
    options: Options

    @property
    def asset_names(self) -> tuple[str, ...]:
        """The assets in the order of their files."""
        return tuple(asset.name for asset, _ in self.assets)

    def files(self, more: dict[str, bytes]) -> dict[str, bytes | Path]:
        """Return what a child process needs besides its job."""
        assets = {f"{jobs.ASSET}{i}": content for i, (_, content) in enumerate(self.assets)}
        return {jobs.SOURCE: self.content, **assets, **more}


def read(source: Path, calibration: Path, heldout: Path | None, options: Options) -> Given:
    """Read everything that was handed in.

    Raises:
        ModelRefused, DataInvalid, DeclarationInvalid
    """
    declaration.check(options.declaration)
    content = _read(source, "model")
    runtime = Runtime.TFLITE if content[4:8] == _TFLITE_MAGIC else Runtime.ONNX
    if options.variants and runtime is Runtime.TFLITE:
        raise ModelRefused("a TFLite source is its own variant; ready variants go beside an ONNX source")
    unknown = [each for each in options.precisions if each not in BUILT]
    if unknown or not options.precisions:
        raise DeclarationInvalid(f"expected precisions of {', '.join(BUILT)}, found {', '.join(unknown) or 'none'}")
    if len(options.force) > REASON_CHARS_MAX:
        raise DeclarationInvalid(f"expected a reason of at most {REASON_CHARS_MAX} characters to force with")
    assets = []
    for each in options.assets:
        asset = _read(each.path, f"asset {each.name!r}")
        assets.append((Asset(name=each.name, kind=each.kind, blob=chunks.cut(asset)), asset))
    return Given(
        name=source.name[-256:],
        content=content,
        runtime=runtime,
        rows=data.load(calibration, heldout, options.seed),
        assets=tuple(assets),
        ready=tuple(ReadyFile(name=path.name[-256:], content=_read(path, "variant")) for path in options.variants),
        options=options,
    )


def _read(path: Path, what: str) -> bytes:
    try:
        if not path.is_file():
            raise ModelRefused(f"{what}: no such file: {path}")
        size_bytes = path.stat().st_size
        if not 0 < size_bytes <= chunks.BLOB_BYTES_MAX:
            raise ModelRefused(f"{what}: expected 1 to {chunks.BLOB_BYTES_MAX} bytes, found {size_bytes}")
        return path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{what}: cannot read {path}: {error.strerror}") from error
