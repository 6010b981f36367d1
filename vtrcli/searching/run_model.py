"""A trained run as search needs it: its name, its sizes, its heads, and queries as vectors of its space."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.errors import InputError, WeightsError
from vtrcli.model.run_folder import CONFIG, MODEL, RunConfig, damaged_run, read_config, require_run_fits
from vtrcli.searching.encoding import ClipEncoder, Places, combine
from vtrcli.searching.query import Query, Term
from vtrcli.searching.query_cache import QueryCache
from vtrcli.store.config import BackboneTag

if TYPE_CHECKING:
    from vtrcli.model.trained_run import CamoeVectors
    from vtrcli.text.taggers import Tagger

MAX_LOGIT_SCALE = 100.0


class RunModel:
    """The run; torch is loaded only when its heads are needed.

    Args:
        source, backbone: the store (or index) and what made its features.

    Raises:
        WeightsError: no run, or a damaged one.
        StoreError: a run of another backbone.
    """

    def __init__(self, run: Path, *, source: Path, backbone: BackboneTag, device: str) -> None:
        self.config: RunConfig = read_config(run)
        require_run_fits(run, self.config, source, backbone)
        self.run, self._device = run, device
        self.key = f"run-{run_id(run)}"
        self.num_experts = len(self.config.camoe["experts"])
        self.width = self.num_experts * int(self.config.camoe["dim"])

    @cached_property
    def logit_scale(self) -> float:
        """The one that training ended with; read from the weights' file without torch."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = self.run / MODEL
        try:  # a few megabytes; not mapped, which some shared folders and network mounts refuse
            return min(MAX_LOGIT_SCALE, math.exp(float(load(path.read_bytes())["log_scale"])))
        except (OSError, KeyError, SafetensorError, OverflowError, TypeError) as cause:
            raise damaged_run(path, str(cause)) from cause

    @cached_property
    def heads(self) -> CamoeVectors:
        """The trained heads."""
        from vtrcli.model.trained_run import CamoeVectors

        heads = CamoeVectors(self.run, device=self._device)
        if f"run-{run_id(self.run)}" != self.key:
            raise WeightsError(
                f"run {self.run} changed while it was read",
                allowed="a run that stays as it is; training replaces its weights when they got better",
                to_do="search again, or wait until it is trained",
            )
        return heads

    @cached_property
    def tagger(self) -> Tagger:
        """The tagger that the run was trained with. Raises InputError when another version is installed."""
        from vtrcli.text.taggers import load_tagger

        trained = self.config.tagger_id
        tagger = load_tagger("spacy" if trained.startswith("spacy") else "hanta")
        if tagger.id != trained:
            raise InputError(
                f"run {self.run} was trained with the tagger {trained}, now it is {tagger.id}",
                allowed="the tagger that the run was trained with",
                to_do="install that version",
            )
        return tagger


class RunEncoder:
    """Queries as vectors of a run's space. A text is split into the run's streams; an image is a video of one frame."""

    def __init__(self, model: RunModel, clip: ClipEncoder, places: Places, *, folder: Path) -> None:
        self._model, self._clip, self._places = model, clip, places
        model_id = f"{clip.tag.sha256} {model.key} {model.config.tagger_id}"
        self._cache = QueryCache(folder, model_id=model_id, width=model.width)

    def encode(self, query: Query) -> np.ndarray:
        """float32 [width]; one text alone has the length that it has in `vtr eval`, so that scores are the same.

        Raises:
            As ClipEncoder.encode; InputError when another version of the tagger is installed.
        """
        terms = [(term, self._term(term)) for term in query.terms]
        lengths = [float(np.linalg.norm(vector)) for term, vector in terms if term.kind == "text"]
        vector: np.ndarray = combine(terms) * np.float32(np.mean(lengths) if lengths else 1.0)
        return vector

    def _term(self, term: Term) -> np.ndarray:
        if term.kind == "text":
            return self._text(term.value)
        if term.kind == "image":
            frames = self._clip.image(term.value)[None]
        else:
            frames = self._places.frames_at(term.value)
        return np.asarray(self._model.heads.of_frames([frames])[0])

    def _text(self, text: str) -> np.ndarray:
        kept = self._cache.get(text)
        if kept is not None:
            return kept[0]
        rows = self._clip.streams(text, self._model.tagger)
        vector = np.asarray(self._model.heads.texts(rows)[0])
        self._cache.put(text, vector, was_cut=False)
        return vector


def run_id(run: Path) -> str:
    """Names the content of a run: its settings and its weights. Raises WeightsError when they are not there."""
    digest = hashlib.sha256()
    for name in (CONFIG, MODEL):
        try:
            digest.update((run / name).read_bytes())
        except OSError as cause:
            raise WeightsError(
                f"{run / name} cannot be read: {cause.strerror}",
                allowed="a run that saved at least once",
                to_do="check --run, or train again",
            ) from cause
    return digest.hexdigest()[:16]
