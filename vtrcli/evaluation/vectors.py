"""Videos and texts as vectors whose inner product is the score: zero-shot CLIP, or a trained CAMoE run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vtrcli.model.precision import choose_device
from vtrcli.retrieval.frame_scores import unit_rows
from vtrcli.store.padding import padded
from vtrcli.store.reader import FeatureStore
from vtrcli.store.texts import TextRows
from vtrcli.text.streams import STREAMS
from vtrcli.training.run import load_camoe
from vtrcli.training.run_folder import require_run_fits

CHUNK_VIDEOS = 1024


class MeanVectors:
    """Zero-shot CLIP: the mean of a video's normalised frames, and the whole caption."""

    name = "zero-shot, mean of frames"
    tagger_id: str | None = None
    max_tokens: int | None = None

    def require_fit(self, store: FeatureStore) -> None:
        """Any store fits."""

    def logit_scale(self, store: FeatureStore) -> float:
        """The backbone's, about 100 for OpenAI's."""
        return store.config.backbone.logit_scale

    def videos(self, store: FeatureStore, video_ids: Sequence[str]) -> np.ndarray:
        """float32 [num_videos, dim], rows of length 1."""
        means = [unit_rows(store.features(video_id)).mean(axis=0) for video_id in video_ids]
        return unit_rows(np.stack(means))

    def texts(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, dim], rows of length 1."""
        return unit_rows(rows.features[:, STREAMS.index("fusion")])


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

    @torch.inference_mode()
    def of_frames(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """The same for frame features: per video float [its frames, dim], not normalised."""
        num_frames, dim = self._config.settings.num_frames, self._camoe.config.dim
        vectors = [np.zeros((0, len(self._camoe.config.experts) * dim), np.float32)]
        for start in range(0, len(features), CHUNK_VIDEOS):
            frames = padded(features[start : start + CHUNK_VIDEOS], num_frames=num_frames, dim=dim)
            tensors = (torch.from_numpy(array).to(self._device) for array in frames)
            vectors.append(self._camoe.video_vectors(*tensors).float().cpu().numpy())
        return np.concatenate(vectors)

    @torch.inference_mode()
    def texts(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, experts * dim]."""
        columns = [STREAMS.index(expert) for expert in self._camoe.config.experts]
        features = torch.from_numpy(rows.features[:, columns]).to(self._device)
        mask = torch.from_numpy(rows.mask[:, columns]).to(self._device)
        chunks = [
            self._camoe.text_vectors(*pair)
            for pair in zip(torch.split(features, CHUNK_VIDEOS), torch.split(mask, CHUNK_VIDEOS), strict=True)
        ]
        return torch.cat(chunks).float().cpu().numpy()
