"""A run directory: it rebuilds its model from itself. No pickle.

config.json          settings, the head's shape, backbone, data set, tagger; written first
metrics.jsonl        one line per epoch
model.safetensors    the best weights
last.safetensors     everything that going on needs: weights, optimizer, random state, position
curves.svg           a picture of metrics.jsonl
backbone.safetensors the fine-tuned CLIP (--finetune), usable as --backbone; backbone/: one in open_clip's layout

torch is imported where weights are read, so that a search whose vectors are kept needs none.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vtrcli.errors import StoreError, UsageError, WeightsError
from vtrcli.files import make_folder, replacing, write_whole
from vtrcli.model.heads import HEADS, Head, HeadConfig, HeadExplanation, build_head
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.config import BackboneInfo
from vtrcli.store.reader import FeatureStore, padded, spread
from vtrcli.store.texts import TextRows
from vtrcli.text.streams import STREAMS

if TYPE_CHECKING:
    import torch

RUN_VERSION = 1
CHUNK = 1024  # videos or texts encoded at a time
BLOCK_TEXTS, BLOCK_VIDEOS = 32, 64  # scored at a time
CONFIG, METRICS, MODEL, LAST, CURVES, BACKBONE = (
    "config.json",
    "metrics.jsonl",
    "model.safetensors",
    "last.safetensors",
    "curves.svg",
    "backbone",
)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Contents of `config.json`. `annotations` and `store` are absolute paths.

    `head` stands in the file under its own name (`camoe`), which `settings.head` tells.

    `backbone` made the features that the model fits. After fine-tuning that is the run's own, and
    `started_from` names the weights that the tuning began with.
    """

    settings: TrainSettings
    head: HeadConfig
    backbone: BackboneInfo
    dataset: str
    annotations: str
    store: str
    tagger_id: str
    num_train_videos: int
    num_train_texts: int
    num_val_videos: int
    recipe: str | None = None
    started_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        body = {**vars(self), "settings": self.settings.to_json(), "backbone": self.backbone.to_json()}
        head: HeadConfig = body.pop("head")
        return {"format": "vtr-run", "version": RUN_VERSION, head.name: head.to_json(), **body}


def write_config(run: Path, config: RunConfig) -> None:
    """Write `config.json`. Raises WeightsError when the folder cannot be written."""
    make_folder(
        run, what="the run folder", error=WeightsError,
        allowed="a folder that can be written", to_do="choose another with --out",
    )  # fmt: skip
    text = json.dumps(config.to_json(), indent=2) + "\n"
    write_whole(run / CONFIG, text.encode(), error=WeightsError)


def read_config(run: Path, *, option: str = "--run") -> RunConfig:
    """Read `config.json`; `option` is what named the run, for messages.

    Raises:
        WeightsError: no run, a damaged one, or one of a newer vtr, or of a head that this one does not know.
    """
    try:
        body = json.loads((run / CONFIG).read_text(encoding="utf-8"))
        if body.pop("format") != "vtr-run":
            raise ValueError("it does not describe a run")
        version = body.pop("version")
        if version > RUN_VERSION:
            raise WeightsError(
                f"run {run} has format version {version}",
                allowed=f"this vtr reads versions up to {RUN_VERSION}",
                to_do="update vtr: pip install -U vtrcli",
            )
        settings = TrainSettings.from_json(body.pop("settings"))
        if settings.head not in HEADS:
            raise WeightsError(
                f"run {run} has the head {settings.head!r}",
                allowed=f"heads that this vtr knows: {', '.join(HEADS)}",
                to_do="update vtr: pip install -U vtrcli, or use another run",
            )
        head = HEADS[settings.head].config.from_json(body.pop(settings.head))
        backbone = BackboneInfo.from_json(body.pop("backbone"))
        return RunConfig(settings=settings, head=head, backbone=backbone, **body)
    except FileNotFoundError:
        raise WeightsError(
            f"no trained run at {run}",
            allowed=f"a folder with a {CONFIG}, as `vtr train --out {run}` makes it",
            to_do=f"check {option}, or train one",
        ) from None
    except UsageError as cause:
        raise damaged_run(run / CONFIG, cause.came_in) from cause
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise damaged_run(run / CONFIG, str(cause)) from cause


def tuned_backbone(run: Path) -> Path | None:
    """What `--backbone` takes of a fine-tuned run: CLIP's file, or a folder in open_clip's layout; None before both."""
    file, folder = run / f"{BACKBONE}.safetensors", run / BACKBONE
    if file.exists():
        return file
    return folder if any(folder.glob("*.safetensors")) else None


def require_run_fits(run: Path, config: RunConfig, store: Path, stored: BackboneInfo) -> None:
    """Raises StoreError when a run was trained on features of another backbone than a store's."""
    trained = config.backbone
    if trained.sha256 != stored.sha256:
        raise StoreError(
            f"run {run} was trained on features of {trained.name} (weights {trained.sha256[:12]}), "
            f"store {store} holds {stored.name} (weights {stored.sha256[:12]})",
            allowed="run and store of the same backbone",
            to_do=f"use another --store or --run; this run was trained on {config.store}",
        )


def newest_fitting_run(runs: Path, store: Path, stored: BackboneInfo) -> tuple[Path | None, str | None]:
    """The newest run of a folder of runs that can rank a store, and why the newest of all cannot where that is another.

    A run cannot when it was trained on another backbone, has no weights yet, or is damaged.
    """
    why = None
    for run in by_time(runs):
        try:
            require_run_fits(run, read_config(run), store, stored)
            if not (run / MODEL).is_file():
                raise WeightsError(f"run {run} has no weights yet", allowed="a trained run", to_do="train it")
            return run, why
        except (StoreError, WeightsError) as error:
            why = why or error.came_in
    return None, why


def by_time(runs: Path) -> list[Path]:
    """The runs in a folder, the newest first."""
    found = {}
    for path in sorted(runs.glob(f"*/{CONFIG}")):
        with suppress(OSError):  # it has just gone
            found[path.parent] = path.stat().st_mtime_ns
    return sorted(found, key=lambda run: found[run], reverse=True)


def damaged_run(path: Path, detail: str) -> WeightsError:
    """The error for a file of a run that cannot be trusted."""
    return WeightsError(
        f"{path} is damaged: {detail}",
        allowed="a file of a run as `vtr train` writes it",
        to_do="restore it, or train again",
    )


def load_head(run: Path, *, device: str = "cpu") -> tuple[Head, RunConfig]:
    """The best model of a run, ready for evaluation.

    Raises:
        WeightsError: no run, or one that is damaged or of a newer vtr.
    """
    config = read_config(run)
    head = build_head(config.head, logit_scale=config.backbone.logit_scale)
    load_weights(run / MODEL, head)
    return head.to(device).eval(), config


def encode_videos(head: Head, frames: np.ndarray, mask: np.ndarray, *, device: str) -> np.ndarray:
    """Features [num_videos, F, dim] and bool [num_videos, F] -> what the head makes, float32 [num_videos, ...]."""
    return _in_chunks(head.video_vectors, frames, mask, device=device)


def encode_texts(head: Head, features: np.ndarray, mask: np.ndarray, *, device: str) -> np.ndarray:
    """Features [num_texts, E, dim] of the experts' streams and bool [num_texts, E] -> float32 [num_texts, ...]."""
    return _in_chunks(head.text_vectors, features, mask, device=device)


def score_blocks(head: Head, texts: np.ndarray, videos: np.ndarray, *, device: str) -> np.ndarray:
    """float32 [num_texts, num_videos], of what `encode_texts` and `encode_videos` gave.

    Always in blocks of one size, filled up with the last row: a kernel may round differently for another, and equal
    scores must be equal wherever they stand.
    """
    import torch

    scores = np.empty((len(texts), len(videos)), np.float32)
    with torch.inference_mode():
        for row in range(0, len(texts), BLOCK_TEXTS):
            some_texts = _block(texts, row, BLOCK_TEXTS).to(device)
            for column in range(0, len(videos), BLOCK_VIDEOS):
                found = head.scores(some_texts, _block(videos, column, BLOCK_VIDEOS).to(device))
                part = scores[row : row + BLOCK_TEXTS, column : column + BLOCK_VIDEOS]
                part[:] = found.float().cpu().numpy()[: part.shape[0], : part.shape[1]]
    return scores


def _block(array: np.ndarray, start: int, size: int) -> torch.Tensor:
    import torch

    return torch.from_numpy(array[np.minimum(np.arange(start, start + size), len(array) - 1)])


def _in_chunks(
    encode: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    features: np.ndarray,
    mask: np.ndarray,
    *,
    device: str,
) -> np.ndarray:
    import torch

    with torch.inference_mode():
        vectors = [
            encode(*(torch.from_numpy(array[start : start + CHUNK]).to(device) for array in (features, mask)))
            for start in range(0, len(features), CHUNK)
        ]
        return torch.cat(vectors).float().cpu().numpy()


class TrainedRun:
    """The trained model of a run on arrays: what it makes of videos and texts, and their scores."""

    def __init__(self, run: Path, *, device: str = "auto") -> None:
        from vtrcli.model.backbone import choose_device

        self._device = choose_device(device)
        self._head, self.config = load_head(run, device=self._device)
        self._run = run
        self.name = f"run {run}"
        self.tagger_id: str | None = self.config.tagger_id
        self.max_tokens = self.config.settings.max_tokens

    def require_fit(self, store: FeatureStore) -> None:
        """Raises StoreError when the run was trained on features of another backbone."""
        require_run_fits(self._run, self.config, store.path, store.config.backbone)

    def logit_scale(self, store: FeatureStore) -> float:
        """The one that training ended with."""
        return float(self._head.logit_scale.detach())

    def videos(self, store: FeatureStore, video_ids: Sequence[str]) -> np.ndarray:
        """float32 [num_videos, ...]; long videos are thinned as they were for training."""
        return self.of_frames([store.features(video_id) for video_id in video_ids])

    def of_frames(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """The same for frame features: per video float [its frames, dim], not normalised."""
        if not features:
            return np.zeros((0, *self.config.head.text_shape), np.float32)
        num_frames, dim = self.config.settings.num_frames, self.config.head.dim
        vectors = []
        for start in range(0, len(features), CHUNK):
            frames, mask = padded(features[start : start + CHUNK], num_frames=num_frames, dim=dim)
            vectors.append(encode_videos(self._head, frames, mask, device=self._device))
        return np.concatenate(vectors)

    def texts(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, ...]."""
        columns = [STREAMS.index(expert) for expert in self.config.settings.experts]
        return encode_texts(self._head, rows.features[:, columns], rows.mask[:, columns], device=self._device)

    def explain(self, rows: TextRows, features: np.ndarray) -> tuple[HeadExplanation | None, np.ndarray]:
        """How the score of the first of some texts and one video, float [its frames, dim], comes about; and int64 [F],
        the frames that the head looked at. None where this head cannot tell."""
        import torch

        chosen = spread(len(features), self.config.settings.num_frames)
        columns = [STREAMS.index(expert) for expert in self.config.settings.experts]
        given = rows.features[0, columns], rows.mask[0, columns], features[chosen]
        with torch.inference_mode():
            parts = self._head.explain(*(torch.from_numpy(array).to(self._device) for array in given))
        return parts and HeadExplanation(*(part.float().cpu().numpy() for part in parts)), chosen

    def scores(self, texts: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """float32 [num_texts, num_videos], of what `texts` and `videos` gave; for any head."""
        return score_blocks(self._head, texts, videos, device=self._device)


def save_weights(path: Path, head: Head) -> None:
    """Write a head's weights. Raises WeightsError when they cannot be written."""
    save_tensors(path, dict(head.state_dict()), {"format": f"vtr-{head.config.name}"})


def load_weights(path: Path, head: Head) -> None:
    """Fill a head in place.

    Raises:
        WeightsError: no such file, damaged, or of another model.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != f"vtr-{head.config.name}":
        raise damaged_run(path, f"it does not hold weights of the head {head.config.name!r}")
    fill(path, head, tensors)


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all. Raises WeightsError when it cannot be written."""
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path, error=WeightsError) as temporary:
        try:
            save_file(whole, temporary, metadata=metadata)
        except SafetensorError as cause:  # safetensors wraps the operating system's error
            raise OSError(0, str(cause)) from cause


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a file of a run. Raises WeightsError when there is none, or it is damaged."""
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def _mapped_or_whole(path: Path) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(safe_open(path, framework="pt"))
        except OSError as cause:
            if f"(os error {errno.ENODEV})" not in str(cause):
                raise
            file = _Whole(path)
        yield file


class _Whole:
    """A safetensors file read into memory: some shared folders and network mounts map none."""

    def __init__(self, path: Path) -> None:
        from safetensors.torch import load

        body = path.read_bytes()
        self._tensors = load(body)
        self._header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])

    def keys(self) -> list[str]:
        return list(self._tensors)

    def get_tensor(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def metadata(self) -> dict[str, str] | None:
        found: dict[str, str] | None = self._header.get("__metadata__")
        return found


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """As `load_tensors`, but the file itself, so that only what is asked for is read."""
    try:
        with _mapped_or_whole(path) as file:
            yield file
    except FileNotFoundError:
        raise WeightsError(
            f"{path} is not there",
            allowed="a run that saved at least once",
            to_do="check --run and --resume, or train again",
        ) from None
    except (OSError, SafetensorError) as cause:
        raise damaged_run(path, str(cause)) from cause


def fill(path: Path, model: Head | torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Fill a model in place. Raises WeightsError when the weights are those of another model."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as cause:
        raise WeightsError(
            f"{path} holds weights of another model ({str(cause).splitlines()[0]})",
            allowed="weights of the shape that the run's config.json describes",
            to_do="use the run's own files",
        ) from cause
