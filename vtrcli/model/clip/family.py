"""OpenAI's CLIP as a family of backbones (`vtrcli.model.backbone.Family`): a name -> converted weights -> a backbone.

A name wins over a file of the same name (write ./NAME for the file). Converted files lie in the cache folder:
`ViT-B-32.vtr.safetensors` beside `ViT-B-32.pt`, `NAME.vtr.safetensors` for an import, and
`from-files/…` for weights that were passed as a file. Reading the formats is left to formats.py, torch to model.py.

OpenAI's addresses and checksums are those of clip-anytorch's `clip/clip.py`, and so is the folder, so that weights that
`clip` has already downloaded are found.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vtrcli.errors import UsageError, WeightsError
from vtrcli.model.backbone import (
    DEMO_NAME,
    ModelEntry,
    Original,
    Precision,
    Progress,
    Towers,
    choose_precision,
    count_parameters,
    torch_dtype,
)
from vtrcli.model.clip.converted import HUGGING_FACE_FILES, damaged, describe, is_converted, read_header
from vtrcli.model.clip.download import KnownModel, download, file_sha256
from vtrcli.store.config import Description

if TYPE_CHECKING:
    from vtrcli.model.clip.finetune import TrainableClip
    from vtrcli.model.clip.model import ClipBackbone
    from vtrcli.model.text_tower import TextBackbone

DEMO_WEIGHTS = Path(__file__).parents[2] / "demo" / "demo_clip.safetensors"
CONVERTED_SUFFIX = ".vtr.safetensors"

KNOWN_MODELS = (
    KnownModel(
        name="ViT-B/32",
        file_name="ViT-B-32.pt",
        sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        dim=512,
        input_size=224,
        parameters=151,
        published_r1=31.1,
        source="DRL README",
    ),
    KnownModel(
        name="ViT-B/16",
        file_name="ViT-B-16.pt",
        sha256="5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        dim=512,
        input_size=224,
        parameters=150,
    ),
    KnownModel(
        name="ViT-L/14",
        file_name="ViT-L-14.pt",
        sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        dim=768,
        input_size=224,
        parameters=428,
    ),
    KnownModel(
        name="ViT-L/14@336px",
        file_name="ViT-L-14-336px.pt",
        sha256="3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        dim=768,
        input_size=336,
        parameters=428,
    ),
)


class ClipFamily:
    """CLIP with a ViT or a ResNet, of any sizes: OpenAI's own models, Hugging Face's folders, what was fine-tuned."""

    def takes(self, name: str) -> bool:
        """One of OpenAI's names, the demo's or an imported one; files and folders nobody else takes come here."""
        return known_model(name) is not None or _named(name) is not None

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

    def query_tower(self, name: str, *, sha256: str | None = None) -> TextBackbone:
        """Any that is converted."""
        from vtrcli.model.clip.tokens import cut_text, token_limit, tokenize
        from vtrcli.model.text_tower import TextBackbone, TextShape, TextTower
        from vtrcli.store.shard import TensorFile

        path = find_weights(name, sha256=sha256)
        header = read_header(path)
        config = header.config
        tensors = {
            key: tensor
            for key, tensor in TensorFile(path).mapped().items()
            if key != "logit_scale" and not key.startswith("visual.")
        }
        return TextBackbone(
            TextTower(TextShape(heads=config.transformer_heads), tensors),
            describe(header, name=lasting_name(name)),
            row=lambda text, limit: tokenize(text, context_length=token_limit(limit, config.context_length)),
            cut=cut_text,
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

    def original(self, name: str) -> Original:
        """clip's own transform, tokenizer and forward. Raises WeightsError."""
        from vtrcli.model.clip.original import original

        return original(find_weights(name))

    def write_random(self, name: str, folder: Path) -> Path:
        """Of one of OpenAI's names. Raises UsageError, WeightsError."""
        from vtrcli.model.clip.original import write_random

        model = known_model(name)
        if model is None:
            raise UsageError(
                f"{name!r} is no published architecture",
                allowed=f"random weights of {', '.join(known.name for known in KNOWN_MODELS)}",
                to_do="pass a name of `vtr models list`, or weights that are here",
            )
        return write_random(model, folder)

    def num_parameters(self, name: str) -> int:
        """Raises WeightsError."""
        return count_parameters(find_weights(name))


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
        parameters=model.parameters,
        languages="English",
        licence="MIT",
        published_r1=model.published_r1,
        source=model.source,
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
        parameters=round(count_parameters(path) / 1e6),
    )


def cache_folder() -> Path:
    """The folder in which `clip` itself keeps weights: ~/.cache/clip."""
    return Path("~/.cache/clip").expanduser()


def known_model(name: str) -> KnownModel | None:
    """The published model of this name, or None."""
    return next((model for model in KNOWN_MODELS if model.name == name), None)


def find_weights(name: str, *, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """The converted file of an OpenAI name, `demo`, an imported name, a file or a folder.

    With `sha256`, the identity of the weights' content, a file that has gone is found among those converted
    before. Raises WeightsError.
    """
    model = known_model(name)
    if model:
        return fetch_known(model, progress=progress)
    named = _named(name)
    if named:
        return named
    path = Path(name).expanduser()
    if path.is_file() or path.is_dir():
        return _converted_from(path)
    for candidate in cache_folder().rglob(f"*{CONVERTED_SUFFIX}") if sha256 else ():
        if is_converted(candidate) and read_header(candidate).sha256 == sha256:
            return candidate
    similar = difflib.get_close_matches(name, [model.name for model in KNOWN_MODELS], n=1)
    raise WeightsError(
        f"there are no weights {name!r}",
        allowed=f"a name of `vtr models list` ({KNOWN_MODELS[0].name}, pe-core-b16, {DEMO_NAME} …), hf-hub:ORG/NAME, "
        "a file or a folder of weights",
        to_do=f"did you mean {similar[0]}?" if similar else "check the spelling, or see the list",
    )


def lasting_name(name: str) -> str:
    """`name` such that it still works in another folder: a name as it is, a file by its absolute path."""
    if known_model(name) or _named(name):
        return name
    return str(Path(name).expanduser().resolve())


def _named(name: str) -> Path | None:
    """The file of the demo or of imported weights."""
    if name == DEMO_NAME:
        return DEMO_WEIGHTS
    imported = cache_folder() / f"{name}{CONVERTED_SUFFIX}"
    return imported if is_model_name(name) and imported.is_file() else None


def is_model_name(name: str) -> bool:
    """True for what may name imported weights: letters, digits and . _ @ - alone."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", name) is not None


def fetch_known(model: KnownModel, *, progress: Progress | None = None) -> Path:
    """The converted file of a published model, downloaded and converted if need be. Raises WeightsError."""
    target = known_target(model)
    if is_converted(target):
        return target
    with locked(target):
        if is_converted(target):  # another process was quicker
            return target
        archive = cache_folder() / model.file_name
        if not archive.is_file():
            download(model, archive, progress=progress)
        return convert_known(model, archive, target)


def known_target(model: KnownModel) -> Path:
    """Where the converted file of a published model lies."""
    return cache_folder() / f"{Path(model.file_name).stem}{CONVERTED_SUFFIX}"


def convert_known(model: KnownModel, archive: Path, target: Path) -> Path:
    """Convert a published file after its checksum was compared. Raises WeightsError."""
    found = file_sha256(archive)
    if found != model.sha256:
        raise WeightsError(
            f"{archive} is not the published {model.name} (SHA-256 {found})",
            allowed=f"{model.file_name} has SHA-256 {model.sha256}",
            to_do="delete it to download it again, or pass other weights by their path",
        )
    return convert(archive, target, name=model.name)


def convert(source: Path, target: Path, *, name: str) -> Path:
    """Read any supported weights and write them as a converted file. Raises WeightsError."""
    from vtrcli.model.clip.formats import read_state_dict
    from vtrcli.model.clip.model import save_converted

    return save_converted(read_state_dict(source), target, name=name, source=source.name)


def _converted_from(path: Path) -> Path:
    if is_converted(path):
        return path
    files = [path / name for name in HUGGING_FACE_FILES] if path.is_dir() else [path]
    stats = [(str(file.resolve()), _size_and_time(file)) for file in files]
    digest = hashlib.sha256(repr(stats).encode()).hexdigest()
    name = path.resolve().stem
    target = cache_folder() / "from-files" / f"{name}-{digest[:16]}{CONVERTED_SUFFIX}"
    if is_converted(target):
        return target
    with locked(target):
        return target if is_converted(target) else convert(path, target, name=name)


def _size_and_time(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None  # reading it gives the message
    return stat.st_size, stat.st_mtime_ns


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """One process at a time downloads or converts into `target`."""
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{target}.lock")
        lock.acquire()
    except OSError as error:
        raise WeightsError(
            f"cannot write into {target.parent}: {error.strerror or error}",
            allowed="weights are kept in a folder that can be written",
            to_do="make it writable or choose another cache folder",
        ) from error
    try:
        yield
    finally:
        lock.release()
