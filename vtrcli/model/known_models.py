"""OpenAI's published CLIP models: names, files, checksums and sizes (no torch here).

Addresses and checksums are those of clip-anytorch's `clip/clip.py`, and so is the folder, so that weights that
`clip` has already downloaded are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_BACKBONE = "ViT-B/32"
# What a Hugging Face folder must hold; both decide whether it has changed.
HUGGING_FACE_FILES = ("config.json", "model.safetensors")

_BASE_URL = "https://openaipublic.azureedge.net/clip/models"


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One published model. `sha256` is that of the file; the identity of its content is another."""

    name: str
    file_name: str
    sha256: str
    dim: int
    input_size: int
    base_url: str = _BASE_URL

    @property
    def url(self) -> str:
        """Where OpenAI publishes the file."""
        return f"{self.base_url}/{self.sha256}/{self.file_name}"


KNOWN_MODELS = (
    KnownModel(
        name="ViT-B/32",
        file_name="ViT-B-32.pt",
        sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        dim=512,
        input_size=224,
    ),
    KnownModel(
        name="ViT-B/16",
        file_name="ViT-B-16.pt",
        sha256="5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        dim=512,
        input_size=224,
    ),
    KnownModel(
        name="ViT-L/14",
        file_name="ViT-L-14.pt",
        sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        dim=768,
        input_size=224,
    ),
    KnownModel(
        name="ViT-L/14@336px",
        file_name="ViT-L-14-336px.pt",
        sha256="3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        dim=768,
        input_size=336,
    ),
)


def known_model(name: str) -> KnownModel | None:
    """The published model of this name, or None."""
    return next((model for model in KNOWN_MODELS if model.name == name), None)


def default_cache_dir() -> Path:
    """The folder in which `clip` itself keeps weights: ~/.cache/clip."""
    return Path("~/.cache/clip").expanduser()
