"""Models in open_clip's layout as a family of backbones: a folder, a short name or hf-hub:ORG/NAME -> a backbone.

The folder is read by folder.py, without torch; the Hub by hub.py; torch and open_clip belong to model.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vtrcli.errors import UsageError, WeightsError
from vtrcli.model.backbone import (
    ModelEntry,
    Original,
    Precision,
    Progress,
    Towers,
    choose_precision,
    count_parameters,
)
from vtrcli.model.open_clip.folder import ModelFolder, is_open_clip
from vtrcli.model.open_clip.hub import PUBLISHED, PublishedModel, fetch, fetched, published, repo_of
from vtrcli.store.config import Description

if TYPE_CHECKING:
    from vtrcli.model.open_clip.finetune import TrainableOpenClip
    from vtrcli.model.open_clip.model import OpenClipBackbone
    from vtrcli.model.text_tower import TextBackbone


class OpenClipFamily:
    """What open_clip loads from a folder: CLIP, PE-Core, SigLIP, MobileCLIP, EVA, of any sizes."""

    def takes(self, name: str) -> bool:
        """A short name, hf-hub:ORG/NAME, or a folder that has a file of open_clip's names."""
        return repo_of(name) is not None or is_open_clip(Path(name).expanduser())

    def publishes(self, name: str) -> bool:
        """Whatever comes from the Hub under a name of its own."""
        return repo_of(name) is not None

    def describe(self, name: str, *, progress: Progress | None = None) -> Description:
        """From the config and, once, all tensors; torch is not needed."""
        return _folder(name).describe(name=_lasting_name(name), cache=_cache())

    def load(
        self,
        name: str,
        *,
        device: str,
        precision: Precision,
        towers: Towers,
        sha256: str | None = None,
    ) -> OpenClipBackbone:
        """One or both towers."""
        from vtrcli.model.open_clip.model import load
        from vtrcli.model.open_clip.tokens import TextReader

        chosen = choose_precision(precision, device=device, towers=towers)
        return load(
            _folder(name), self.describe(name), TextReader, device=device, precision=chosen, towers=towers
        )

    def query_tower(self, name: str, *, sha256: str | None = None) -> TextBackbone:
        """Where the architecture has nothing that model/text_tower.py does not know; needs no open_clip either."""
        from vtrcli.model.open_clip.query import query_tower

        return query_tower(_folder(name), self.describe(name))

    def load_trainable(
        self, name: str, *, device: str, sha256: str | None = None, from_scratch: bool = False
    ) -> TrainableOpenClip:
        """Raises UsageError for an image tower that is no transformer."""
        from vtrcli.model.open_clip.finetune import start

        return start(
            _folder(name), self.describe(name), from_scratch=from_scratch, device=device, cache=_cache()
        )

    def models(self) -> list[ModelEntry]:
        """Those with a short name."""
        return [_entry(model) for model in PUBLISHED]

    def pull(self, name: str, *, progress: Progress | None = None) -> Path:
        """Download a short name or hf-hub:ORG/NAME; returns its weights. Raises WeightsError, UsageError."""
        if repo_of(name) is None:
            raise UsageError(
                f"{name} is a folder",
                allowed="a short name or hf-hub:ORG/NAME is pulled",
                to_do="pass it to --backbone",
            )
        return _folder(name).weights

    def import_weights(self, path: Path, *, name: str | None = None) -> NoReturn:
        """Refused: such a folder is used as it is."""
        raise UsageError(
            f"{path} is in open_clip's layout",
            allowed="only CLIP's weights are converted by `vtr models import`",
            to_do="pass the folder itself to --backbone",
        )

    def check(self, name: str) -> None:
        """Raises WeightsError when the tensors have changed since they were first read, or are not those towers'."""
        folder = _folder(name)
        if folder.identity()["sha256"] != self.describe(name).info.sha256:
            raise WeightsError(
                f"{folder.weights} has changed since it was first read",
                allowed="weights keep their content",
                to_do="get the file again, or extract into a new store",
            )
        self.load(name, device="cpu", precision="float32", towers="both")

    def original(self, name: str) -> Original:
        """open_clip's own transform, tokenizer and forward. Raises WeightsError."""
        from vtrcli.model.open_clip.original import original

        return original(_folder(name))

    def write_random(self, name: str, folder: Path) -> Path:
        """Of a short name: open_clip knows its architecture. Raises UsageError, WeightsError."""
        from vtrcli.model.open_clip.original import write_random

        model = published(name)
        if model is None:
            raise UsageError(
                f"the architecture of {name} is not known before it is downloaded",
                allowed=f"random weights of {', '.join(model.name for model in PUBLISHED)}",
                to_do=f"run: vtr models pull {name}",
            )
        return write_random(model, folder)

    def num_parameters(self, name: str) -> int:
        """Raises WeightsError."""
        return count_parameters(_folder(name).weights)


def _folder(name: str) -> ModelFolder:
    if repo_of(name) is not None:
        return ModelFolder(fetch(name))
    path = Path(name).expanduser()
    folder = ModelFolder(path if path.is_dir() else path.parent)
    if path.is_file() and path.resolve() != folder.weights.resolve():
        raise WeightsError(
            f"{path} lies in a folder in open_clip's layout, whose weights are {folder.weights.name}",
            allowed="such weights are read together with their open_clip_config.json",
            to_do="pass the folder, or put the other file elsewhere",
        )
    return folder


def _lasting_name(name: str) -> str:
    if repo_of(name) is not None:
        return name
    path = Path(name).expanduser().resolve()
    return str(path if path.is_dir() else path.parent)


def _cache() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("vtr", appauthor=False) / "open_clip"


def _entry(model: PublishedModel) -> ModelEntry:
    folder = fetched(model.repo)
    path = ModelFolder(folder).weights if folder else None
    return ModelEntry(
        name=model.name,
        kind="open_clip",
        dim=model.dim,
        input_size=model.input_size,
        state="ready" if path else "absent",
        path=path,
        num_bytes=path.stat().st_size if path else None,
        parameters=model.parameters,
        languages=model.languages,
        licence=model.licence,
        published_r1=model.published_r1,
        source=model.source,
    )
