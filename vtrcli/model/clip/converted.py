"""The converted weights file: what its header and the shapes of its tensors say (no torch here: asked at once).

A plain safetensors file with OpenAI's tensor names. The header's metadata holds, as strings: format, version,
name, sha256, source, logit_scale (exp of the parameter), config (JSON). `sha256` is the identity of the
weights: it is made of their content (model.content_sha256), not of any file's bytes.

Sizes follow the rule of `clip.model.build_model`, so that any file that clip opens gives the same model here:
attention heads are always width / 64. Writing the file and reading the tensors is left to model.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vtrcli.errors import WeightsError
from vtrcli.preprocessing import Preprocessing
from vtrcli.store.config import BackboneInfo, Description

# What a Hugging Face folder must hold; both decide whether it has changed.
HUGGING_FACE_FILES = ("config.json", "model.safetensors")
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


def describe(header: ConvertedHeader, *, name: str) -> Description:
    """What a store records of the weights, under the name by which they are found again."""
    config = header.config
    info = BackboneInfo(
        name=name,
        sha256=header.sha256,
        dim=config.embed_dim,
        input_size=config.image_resolution,
        context_length=config.context_length,
        logit_scale=header.logit_scale,
    )
    return Description(info, preprocessing(config.image_resolution))


def preprocessing(size: int) -> Preprocessing:
    """What CLIP does to a picture; OpenAI's constants are those of clip/clip.py."""
    return Preprocessing(
        height=size,
        width=size,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    )


def damaged(path: Path, why: str) -> WeightsError:
    """The error for a converted file that cannot be used."""
    return WeightsError(
        f"{path} cannot be read: {why}",
        allowed="converted weights are a whole safetensors file with vtr's header",
        to_do="delete it, then import or pull the weights again",
    )


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """The arguments of `clip.model.CLIP`, under its own names."""

    embed_dim: int
    image_resolution: int
    vision_layers: int | tuple[int, int, int, int]  # four numbers: a ResNet
    vision_width: int
    vision_patch_size: int | None
    context_length: int
    vocab_size: int
    transformer_width: int
    transformer_heads: int
    transformer_layers: int


def infer_config(shapes: Mapping[str, Sequence[int]], *, source: str) -> ClipConfig:
    """Sizes from a table of tensor name -> shape; `source` is the file that a message names.

    Raises WeightsError when the shapes are not those of an OpenAI CLIP.
    """
    try:
        vision = _vit(shapes) if "visual.proj" in shapes else _resnet(shapes)
        width = shapes["ln_final.weight"][0]
        config = ClipConfig(
            **vision,
            embed_dim=shapes["text_projection"][1],
            context_length=shapes["positional_embedding"][0],
            vocab_size=shapes["token_embedding.weight"][0],
            transformer_width=width,
            transformer_heads=width // 64,
            transformer_layers=_num_blocks(shapes, "transformer.resblocks."),
        )
    except KeyError as error:
        raise another_model(source, f"it has no tensor {error}") from error
    except IndexError as error:
        raise another_model(source, "its tensors have other shapes") from error
    vision_width = config.vision_width if config.vision_patch_size else config.vision_width * 32
    if width % 64 or vision_width % 64 or not config.transformer_layers:
        raise another_model(source, f"CLIP's widths are multiples of 64, not {width} and {vision_width}")
    return config


def another_model(source: str, why: str) -> WeightsError:
    """The error for weights that are readable but not CLIP's."""
    return WeightsError(
        f"{source} holds the weights of another model: {why}",
        allowed="only OpenAI's CLIP is read (ViT or ResNet, its own or Hugging Face's tensor names)",
        to_do="pass a CLIP file, or a name that `vtr models list` shows",
    )


def _vit(shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    patches = shapes["visual.conv1.weight"]
    grid = round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)
    return {
        "vision_width": patches[0],
        "vision_layers": _num_blocks(shapes, "visual.transformer.resblocks."),
        "vision_patch_size": patches[3],
        "image_resolution": patches[3] * grid,
    }


def _resnet(shapes: Mapping[str, Sequence[int]]) -> dict[str, object]:
    grid = round((shapes["visual.attnpool.positional_embedding"][0] - 1) ** 0.5)
    return {
        "vision_width": shapes["visual.layer1.0.conv1.weight"][0],
        "vision_layers": tuple(_num_blocks(shapes, f"visual.layer{layer}.") for layer in (1, 2, 3, 4)),
        "vision_patch_size": None,
        "image_resolution": grid * 32,
    }


def _num_blocks(shapes: Mapping[str, Sequence[int]], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)})
