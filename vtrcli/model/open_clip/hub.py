"""Models on the Hugging Face Hub in open_clip's layout: short names for some, and their download into its own cache.

`parameters` are counted in the towers that open_clip builds, a licence is that of the weights' own card;
`published_r1` is zero-shot MSR-VTT 1k-A as its source prints it, not measured here. What lies in the cache is used
without asking the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vtrcli.errors import WeightsError
from vtrcli.model.open_clip.folder import CONFIG_NAME, INSTALL, MANY_LANGUAGES, TOKENIZER_FILES, WEIGHTS_NAMES
from vtrcli.store.config import ENGLISH

HUB_PREFIX = "hf-hub:"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """One short name. `parameters` are those of both towers, in millions; sizes in pixels.

    `architecture` and `tag` are open_clip's words for the same weights, under which it knows their sizes and
    preprocessing without a download.
    """

    name: str
    repo: str
    architecture: str
    tag: str
    parameters: int
    dim: int
    input_size: int
    licence: str
    languages: str = ENGLISH
    published_r1: float | None = None
    source: str | None = None


_PE = "perception_models README, 2025-12"

PUBLISHED = (
    PublishedModel(
        name="pe-core-s16-384",
        repo="timm/PE-Core-S-16-384",
        architecture="PE-Core-S-16-384",
        tag="meta",
        parameters=87,
        dim=512,
        input_size=384,
        licence="Apache-2.0",
        published_r1=39.3,
        source=_PE,
    ),
    PublishedModel(
        name="pe-core-b16",
        repo="timm/PE-Core-B-16",
        architecture="PE-Core-B-16",
        tag="meta",
        parameters=448,
        dim=1024,
        input_size=224,
        licence="Apache-2.0",
        published_r1=47.6,
        source=_PE,
    ),
    PublishedModel(
        name="pe-core-l14",
        repo="timm/PE-Core-L-14-336",
        architecture="PE-Core-L-14-336",
        tag="meta",
        parameters=671,
        dim=1024,
        input_size=336,
        licence="Apache-2.0",
        published_r1=50.3,
        source=_PE,
    ),
    PublishedModel(
        name="siglip2-b16",
        repo="timm/ViT-B-16-SigLIP2",
        architecture="ViT-B-16-SigLIP2",
        tag="webli",
        parameters=375,
        dim=768,
        input_size=224,
        licence="Apache-2.0",
        languages=MANY_LANGUAGES,
    ),
    PublishedModel(
        name="siglip2-so400m",
        repo="timm/ViT-SO400M-14-SigLIP2",
        architecture="ViT-SO400M-14-SigLIP2",
        tag="webli",
        parameters=1135,
        dim=1152,
        input_size=224,
        licence="Apache-2.0",
        languages=MANY_LANGUAGES,
    ),
    PublishedModel(
        name="laion-b32",
        repo="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        architecture="ViT-B-32",
        tag="laion2b_s34b_b79k",
        parameters=151,
        dim=512,
        input_size=224,
        licence="MIT",
    ),
    PublishedModel(
        name="datacomp-b32-256",
        repo="laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
        architecture="ViT-B-32-256",
        tag="datacomp_s34b_b86k",
        parameters=151,
        dim=512,
        input_size=256,
        licence="MIT",
    ),
    PublishedModel(
        name="metaclip-b32",
        repo="timm/vit_base_patch32_clip_224.metaclip_2pt5b",
        architecture="ViT-B-32-quickgelu",
        tag="metaclip_fullcc",
        parameters=151,
        dim=512,
        input_size=224,
        licence="CC-BY-NC-4.0",  # the card of facebook/metaclip-b32-fullcc2.5b, whose weights these are
    ),
    PublishedModel(
        name="mobileclip2-s0",
        repo="timm/MobileCLIP2-S0-OpenCLIP",
        architecture="MobileCLIP2-S0",
        tag="dfndr2b",
        parameters=75,
        dim=512,
        input_size=256,
        licence="Apple, research only",
    ),
)


def published(name: str) -> PublishedModel | None:
    """The model of a short name, or None."""
    return next((model for model in PUBLISHED if model.name == name), None)


def repo_of(name: str) -> str | None:
    """The repository of a short name or of hf-hub:ORG/NAME; None for anything else."""
    model = published(name)
    if model:
        return model.repo
    return name.removeprefix(HUB_PREFIX) if name.startswith(HUB_PREFIX) else None


def fetched(repo: str) -> Path | None:
    """The folder of what was downloaded before, or None unless it is whole; the network is not asked."""
    try:
        from huggingface_hub import try_to_load_from_cache

        found = [try_to_load_from_cache(repo, name) for name in (CONFIG_NAME, *WEIGHTS_NAMES)]
    except (ImportError, ValueError):  # not installed, or no name of a repository
        return None
    config, *weights = [Path(path) if isinstance(path, str) else None for path in found]
    there = [path for path in weights if path and config and path.parent == config.parent]
    return there[0].parent if there else None


def fetch(name: str) -> Path:
    """The folder of a short name or of hf-hub:ORG/NAME, downloaded if need be. Raises WeightsError."""
    repo = repo_of(name) or ""
    folder = fetched(repo)
    if folder:
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise WeightsError(
            f"{name} cannot be downloaded: the package huggingface_hub is not installed",
            allowed="models of the Hugging Face Hub need the extra open_clip",
            to_do=f"run: {INSTALL}",
        ) from error
    try:
        # Of several files of weights one is enough, and pickled ones are not wanted.
        wanted = [CONFIG_NAME, *WEIGHTS_NAMES[:2], *TOKENIZER_FILES]
        return Path(snapshot_download(repo, allow_patterns=wanted))
    except Exception as error:  # its own kinds, requests', httpx's and the system's
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"cannot download {name} ({why})",
            allowed=f"it comes from https://huggingface.co/{repo}, once",
            to_do="check the name and the network, or download the folder elsewhere and pass --backbone FOLDER",
        ) from error
