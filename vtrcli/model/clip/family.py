"""OpenAI's CLIP as a family of backbones: `vtrcli.model.backbone.Family`, over weights.py and model.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vtrcli.errors import UsageError, WeightsError
from vtrcli.model.backbone import (
    DEMO_NAME,
    Description,
    ModelEntry,
    Precision,
    Progress,
    Towers,
    choose_precision,
    torch_dtype,
)
from vtrcli.model.clip.converted import damaged, describe, is_converted, read_header
from vtrcli.model.clip.download import KnownModel, file_sha256
from vtrcli.model.clip.weights import (
    CONVERTED_SUFFIX,
    DEMO_WEIGHTS,
    KNOWN_MODELS,
    cache_folder,
    convert,
    convert_known,
    fetch_known,
    find_weights,
    is_model_name,
    known_model,
    known_target,
    lasting_name,
    locked,
)

if TYPE_CHECKING:
    from vtrcli.model.clip.finetune import TrainableClip
    from vtrcli.model.clip.model import ClipBackbone


class ClipFamily:
    """CLIP with a ViT or a ResNet, of any sizes: OpenAI's own models, Hugging Face's folders, what was fine-tuned."""

    def takes(self, name: str) -> bool:
        """Everything: what is no CLIP's is told when it is read."""
        return True

    def publishes(self, name: str) -> bool:
        """One of OpenAI's names."""
        return known_model(name) is not None

    def describe(self, name: str, *, progress: Progress | None = None) -> Description:
        """From the header of the converted file."""
        return describe(read_header(find_weights(name, progress=progress)), name=lasting_name(name))

    def load(
        self,
        name: str,
        *,
        device: str,
        precision: Precision,
        towers: Towers,
        sha256: str | None = None,
    ) -> ClipBackbone:
        """One or both towers."""
        from vtrcli.model.clip.model import ClipBackbone, load_clip

        chosen = choose_precision(precision, device=device, towers=towers)
        path = find_weights(name, sha256=sha256)
        return ClipBackbone(
            load_clip(path, device=device, dtype=torch_dtype(chosen), towers=towers),
            describe(read_header(path), name=lasting_name(name)),
            device=device,
            precision=chosen,
            towers=towers,
        )

    def load_trainable(
        self, name: str, *, device: str, sha256: str | None = None, from_scratch: bool = False
    ) -> TrainableClip:
        """Raises UsageError for a ResNet."""
        from vtrcli.model.clip.finetune import start

        path = find_weights(name, sha256=sha256)
        return start(path, name=lasting_name(name), from_scratch=from_scratch, device=device)

    def models(self) -> list[ModelEntry]:
        """OpenAI's models, the demo's and the imported ones."""
        entries = [_known_entry(model) for model in KNOWN_MODELS]
        known = {known_target(model) for model in KNOWN_MODELS}
        if is_converted(DEMO_WEIGHTS):
            entries.append(_entry(DEMO_NAME, "demo", DEMO_WEIGHTS))
        for path in sorted(cache_folder().glob(f"*{CONVERTED_SUFFIX}")):
            if path not in known and is_converted(path):
                entries.append(_entry(path.name.removesuffix(CONVERTED_SUFFIX), "imported", path))
        return entries

    def pull(self, name: str, *, progress: Progress | None = None) -> Path:
        """Download and convert one of OpenAI's models; returns the converted file. Raises WeightsError, UsageError."""
        model = known_model(name)
        if model is None:
            raise UsageError(
                f"{name!r} cannot be pulled",
                allowed=f"OpenAI publishes {', '.join(known.name for known in KNOWN_MODELS)}",
                to_do="use `vtr models import FILE` for other weights",
            )
        return fetch_known(model, progress=progress)

    def import_weights(self, path: Path, *, name: str | None = None) -> Path:
        """Convert a file or folder into the cache.

        Without a name, OpenAI's files are recognised by their checksum and others are called after their file.
        """
        model = known_model(name) if name else _published(path)
        if model:
            target = known_target(model)
            with locked(target):
                return convert_known(model, path, target)
        name = name or path.resolve().stem
        if not is_model_name(name) or name == DEMO_NAME:
            raise UsageError(
                f"weights cannot be called {name!r}",
                allowed="a name has letters, digits and . _ @ - (64 at most) and is not 'demo'",
                to_do="choose another with --name",
            )
        target = cache_folder() / f"{name}{CONVERTED_SUFFIX}"
        with locked(target):
            return convert(path, target, name=name)

    def check(self, name: str) -> None:
        """Raises WeightsError when the tensors of the converted file are not those that its header names."""
        from vtrcli.model.clip.formats import read_state_dict
        from vtrcli.model.clip.model import checked_state, content_sha256

        path = find_weights(name)
        state, _ = checked_state(read_state_dict(path), source=str(path))
        if content_sha256(state) != read_header(path).sha256:
            raise damaged(path, "its tensors are not those of its SHA-256")


def _published(path: Path) -> KnownModel | None:
    if path.is_dir():
        return None
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read: {error.strerror}",
            allowed="a file or folder of weights",
            to_do="check the path",
        ) from error
    return next((model for model in KNOWN_MODELS if model.sha256 == digest), None)


def _known_entry(model: KnownModel) -> ModelEntry:
    target, archive = known_target(model), cache_folder() / model.file_name
    path = target if is_converted(target) else archive if archive.is_file() else None
    return ModelEntry(
        name=model.name,
        kind="openai",
        dim=model.dim,
        input_size=model.input_size,
        state="absent" if path is None else "ready" if path == target else "downloaded",
        path=path,
        num_bytes=path.stat().st_size if path else None,
    )


def _entry(name: str, kind: Literal["demo", "imported"], path: Path) -> ModelEntry:
    config = read_header(path).config
    return ModelEntry(
        name=name,
        kind=kind,
        dim=config.embed_dim,
        input_size=config.image_resolution,
        state="ready",
        path=path,
        num_bytes=path.stat().st_size,
    )
