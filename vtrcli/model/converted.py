"""The converted weights file: what its header says (no torch here, so that it can be asked at once).

A plain safetensors file with OpenAI's tensor names. The header's metadata holds, as strings: format, version,
name, sha256, source, logit_scale (exp of the parameter), config (JSON). `sha256` is the identity of the
weights: it is made of their content (save_converted.content_sha256), not of any file's bytes.
Writing is left to save_converted.py, reading the tensors to clip_loading.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vtrcli.errors import WeightsError
from vtrcli.model.clip_config import ClipConfig, infer_config

FORMAT = "vtr-clip"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ConvertedHeader:
    """What a converted file says about itself; `config` comes from the tensors' shapes."""

    name: str
    sha256: str
    source: str
    logit_scale: float
    config: ClipConfig


def is_converted(path: Path) -> bool:
    """True for a readable safetensors file in the converted format, of any version."""
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (OSError, SafetensorError):
        return False


def read_header(path: Path) -> ConvertedHeader:
    """Read name, identity and sizes; no tensor is read. Raises WeightsError."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise damaged(path, str(error)) from error
    if metadata.get("format") != FORMAT:
        raise damaged(path, f"the header's format is {metadata.get('format')!r}, not {FORMAT!r}")
    if metadata.get("version") != str(VERSION):
        raise WeightsError(
            f"{path} has format version {metadata.get('version')}",
            allowed=f"this vtr reads version {VERSION}",
            to_do="update vtr, or import the original weights again (`vtr models import`)",
        )
    try:
        return ConvertedHeader(
            name=metadata["name"],
            sha256=metadata["sha256"],
            source=metadata["source"],
            logit_scale=float(metadata["logit_scale"]),
            config=infer_config(shapes, source=str(path)),
        )
    except (KeyError, ValueError) as error:
        raise damaged(path, f"the header lacks {error}") from error


def damaged(path: Path, why: str) -> WeightsError:
    """The error for a converted file that cannot be used."""
    return WeightsError(
        f"{path} cannot be read: {why}",
        allowed="converted weights are a whole safetensors file with vtr's header",
        to_do="delete it, then import or pull the weights again",
    )
