"""The trained model of a run: its weights on disk, and the vectors that it makes of videos and texts."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file

from vtrcli.errors import WeightsError
from vtrcli.files import replacing
from vtrcli.model.backbone import choose_device
from vtrcli.model.camoe import Camoe, CamoeConfig
from vtrcli.model.run_folder import MODEL, RunConfig, damaged_run, read_config, require_run_fits
from vtrcli.store.reader import FeatureStore, padded
from vtrcli.store.texts import TextRows
from vtrcli.text.streams import STREAMS

WEIGHTS_FORMAT = "vtr-camoe"
CHUNK = 1024  # videos or texts at a time


def load_camoe(run: Path, *, device: str = "cpu") -> tuple[Camoe, RunConfig]:
    """The best model of a run, ready for evaluation.

    Raises:
        WeightsError: no run, or one that is damaged or of a newer vtr.
    """
    config = read_config(run)
    camoe = Camoe(CamoeConfig.from_json(config.camoe))
    load_weights(run / MODEL, camoe)
    return camoe.to(device).eval(), config


@torch.inference_mode()
def encode_videos(camoe: Camoe, frames: np.ndarray, mask: np.ndarray, *, device: str) -> np.ndarray:
    """Features [num_videos, F, dim] and bool [num_videos, F] -> video vectors, float32 [num_videos, E * dim]."""
    return _in_chunks(camoe.video_vectors, frames, mask, device=device)


@torch.inference_mode()
def encode_texts(camoe: Camoe, features: np.ndarray, mask: np.ndarray, *, device: str) -> np.ndarray:
    """Features [num_texts, E, dim] of the experts' streams and bool [num_texts, E] -> float32 [num_texts, E * dim]."""
    return _in_chunks(camoe.text_vectors, features, mask, device=device)


def _in_chunks(
    encode: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    features: np.ndarray,
    mask: np.ndarray,
    *,
    device: str,
) -> np.ndarray:
    vectors = [
        encode(*(torch.from_numpy(array[start : start + CHUNK]).to(device) for array in (features, mask)))
        for start in range(0, len(features), CHUNK)
    ]
    return torch.cat(vectors).float().cpu().numpy()


class CamoeVectors:
    """A trained run: the concatenated expert vectors, of length experts x dim."""

    def __init__(self, run: Path, *, device: str = "auto") -> None:
        self._device = choose_device(device)
        self._camoe, self._config = load_camoe(run, device=self._device)
        self._run = run
        self.name = f"run {run}"
        self.tagger_id: str | None = self._config.tagger_id
        self.max_tokens = self._config.settings.max_tokens

    def require_fit(self, store: FeatureStore) -> None:
        """Raises StoreError when the run was trained on features of another backbone."""
        require_run_fits(self._run, self._config, store.path, store.config.backbone)

    def logit_scale(self, store: FeatureStore) -> float:
        """The one that training ended with."""
        return float(self._camoe.logit_scale.detach())

    def videos(self, store: FeatureStore, video_ids: Sequence[str]) -> np.ndarray:
        """float32 [num_videos, experts * dim]; long videos are thinned as they were for training."""
        return self.of_frames([store.features(video_id) for video_id in video_ids])

    def of_frames(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """The same for frame features: per video float [its frames, dim], not normalised."""
        num_frames, dim = self._config.settings.num_frames, self._camoe.config.dim
        vectors = [np.zeros((0, len(self._camoe.config.experts) * dim), np.float32)]
        for start in range(0, len(features), CHUNK):
            frames, mask = padded(features[start : start + CHUNK], num_frames=num_frames, dim=dim)
            vectors.append(encode_videos(self._camoe, frames, mask, device=self._device))
        return np.concatenate(vectors)

    def texts(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, experts * dim]."""
        columns = [STREAMS.index(expert) for expert in self._camoe.config.experts]
        return encode_texts(
            self._camoe, rows.features[:, columns], rows.mask[:, columns], device=self._device
        )


def save_weights(path: Path, model: torch.nn.Module) -> None:
    """Write a model's weights. Raises WeightsError when they cannot be written."""
    save_tensors(path, dict(model.state_dict()), {"format": WEIGHTS_FORMAT})


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Fill a model in place.

    Raises:
        WeightsError: no such file, damaged, or of another model.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != WEIGHTS_FORMAT:
        raise damaged_run(path, "it does not hold CAMoE weights")
    fill(path, model, tensors)


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all. Raises WeightsError when it cannot be written."""
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


def fill(path: Path, model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Fill a model in place. Raises WeightsError when the weights are those of another model."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as cause:
        raise WeightsError(
            f"{path} holds weights of another model ({str(cause).splitlines()[0]})",
            allowed="weights of the shape that the run's config.json describes",
            to_do="use the run's own files",
        ) from cause
