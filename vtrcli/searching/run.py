"""Videos ranked by a trained run: queries and videos as vectors of its space, these kept in the store's `index/`."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.errors import InputError, StoreError, UsageError, WeightsError
from vtrcli.model.heads import LOG_SCALE
from vtrcli.model.runs import CONFIG, MODEL, RunConfig, damaged_run, read_config, require_run_fits
from vtrcli.searching.query import QueryVectors
from vtrcli.searching.scores import (
    MAX_TOGETHER,
    Together,
    VideoScores,
    exact_products,
    products,
    rounding_error,
)
from vtrcli.store.catalog import Catalog
from vtrcli.store.config import BackboneInfo
from vtrcli.store.derived import TableSpec, current_rows, derived_tables
from vtrcli.store.shard import TensorFile
from vtrcli.text.streams import STREAMS

if TYPE_CHECKING:
    from vtrcli.model.runs import TrainedRun
    from vtrcli.store.shard import Shard
    from vtrcli.store.texts import TextRows
    from vtrcli.text.streams import Tagger

_LOG = logging.getLogger(__name__)
VECTORS = "vectors"
MAX_SCORES = 1 << 24  # of videos and queries at a time: 64 MB


class RunModel:
    """The run; torch is loaded only when its heads are needed: for videos, and for texts where NumPy cannot do it.

    Args:
        source, backbone: the store (or index) and what made its features.

    Raises:
        WeightsError: no run, or a damaged one.
        StoreError: a run of another backbone.
    """

    def __init__(self, run: Path, *, source: Path, backbone: BackboneInfo, device: str) -> None:
        self.config: RunConfig = read_config(run)
        require_run_fits(run, self.config, source, backbone)
        self.run, self._device = run, device
        self._states = _file_states(run)
        self._weights: dict[str, np.ndarray] = {}  # of the side of texts
        self.key = run_key(run)
        self.head = self.config.head
        self.width = math.prod(self.head.text_shape)

    @cached_property
    def logit_scale(self) -> float:
        """The one that training ended with; read from the weights' file without torch."""
        path = self.run / MODEL
        try:
            bound = self.head.scale_bound(self.config.backbone.logit_scale)
            return min(bound, math.exp(float(TensorFile(path).tensor(LOG_SCALE))))
        except (StoreError, OverflowError, TypeError) as cause:
            raise damaged_run(path, "it tells no logit scale") from cause

    @cached_property
    def heads(self) -> TrainedRun:
        """The trained heads."""
        from vtrcli.model.runs import TrainedRun

        heads = TrainedRun(self.run, device=self._device)
        self._require_unchanged()
        return heads

    def texts(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, ...]: texts as the head makes them, in NumPy where its config can.

        Raises:
            WeightsError: the run was damaged, or changed meanwhile.
        """
        columns = [STREAMS.index(expert) for expert in self.config.settings.experts]
        made = self.head.text_vectors(self._weight, rows.features[:, columns], rows.mask[:, columns])
        if made is None:
            _LOG.info("the text side of run %s is computed by torch: its head has no other", self.run)
            return self.heads.texts(rows)
        return made

    def _weight(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Read once: a server goes on with the run that it began with while training puts a better one in its place."""
        if name not in self._weights:
            weight = self._read_weight(name, shape)
            self._require_unchanged()
            self._weights[name] = weight
        return self._weights[name]

    def _read_weight(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path = self.run / MODEL
        try:
            file = TensorFile(path)
            file.require(name, "F32", shape)
            weight = file.tensor(name)
        except StoreError as cause:
            raise damaged_run(path, f"it has no {name} of the shape {shape}") from cause
        if not np.isfinite(weight).all():
            raise damaged_run(path, f"its {name} is not finite")
        return weight

    def _require_unchanged(self) -> None:
        if _file_states(self.run) != self._states:
            raise WeightsError(
                f"run {self.run} changed while it was read",
                allowed="a run that stays as it is; training replaces its weights when they got better",
                to_do="search again, or wait until it is trained",
            )

    def require_vectors(self) -> None:
        """Raises UsageError where one vector per video does not tell its scores."""
        if not self.head.is_inner_product:
            raise self.no_vectors()

    def no_vectors(self) -> UsageError:
        """What is wrong with a head that scores pairs, where vectors are wanted."""
        return UsageError(
            f"run {self.run} in an index",
            allowed=f"runs that make one vector of a video; its head {self.head.name!r} does not",
            to_do="use plain CLIP there, or search the store itself",
        )

    @cached_property
    def tagger(self) -> Tagger:
        """The tagger that the run was trained with. Raises InputError when another version is installed."""
        from vtrcli.text.streams import TaggerName, load_tagger

        trained = self.config.tagger_id
        name: TaggerName = (
            "none" if trained == "none" else "spacy" if trained.startswith("spacy") else "hanta"
        )
        tagger = load_tagger(name)
        if tagger.id != trained:
            raise InputError(
                f"run {self.run} was trained with the tagger {trained}, now it is {tagger.id}",
                allowed="the tagger that the run was trained with",
                to_do="install that version",
            )
        return tagger


def open_run(run: str | Path | RunModel, *, source: Path, backbone: BackboneInfo, device: str) -> RunModel:
    """A run by its folder, or as another searcher read it; raises as `RunModel`."""
    if isinstance(run, RunModel):
        return run
    return RunModel(Path(run), source=source, backbone=backbone, device=device)


def run_key(run: Path) -> str:
    """Names what is derived by a run. Raises as `run_id`."""
    return f"run-{run_id(run)}"


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


def _file_states(run: Path) -> list[tuple[int, int, int]]:
    """What changes when training puts other files in the place of a run's."""
    states = (path.stat() for name in (CONFIG, MODEL) if (path := run / name).exists())
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in states]


class RunSpace:
    """Videos by the inner product of their vector with the query's."""

    def __init__(self, catalog: Catalog, model: RunModel) -> None:
        self._catalog, self.model = catalog, model
        self.key = model.key
        self.width = model.width
        self._blocks: list[np.ndarray] | None = None
        most = MAX_SCORES // max(1, int(catalog["shard_videos"].sum()))
        self._score = Together(self.score_many, most=max(1, min(MAX_TOGETHER, most)))

    @property
    def logit_scale(self) -> float:
        """The one that training ended with."""
        return self.model.logit_scale

    def prepare(
        self, on_progress: Callable[[int, int], None] = lambda num_done, total: None
    ) -> list[np.ndarray]:
        """Per shard float16 [shard_videos, width]; computes those of new shards."""
        if self._blocks is None:
            spec = TableSpec(name=self.key, tensors={VECTORS: ("F16", self.width)}, version=1)
            tables = derived_tables(self._catalog, spec, self._vectors_of, on_progress=on_progress)
            self._blocks = [table[VECTORS] for table in tables]
        return self._blocks

    def vector(self, query: QueryVectors) -> np.ndarray:
        """float32 [width]."""
        return query.ranking

    def score(self, query: np.ndarray) -> VideoScores:
        """float [width] -> scores, in the units of `vtr eval`. Threads that ask at once share one pass."""
        return self._score(query)

    def score_many(self, queries: Sequence[np.ndarray]) -> list[VideoScores]:
        """float [width] each -> their scores, in one pass over the vectors."""
        blocks, rows = self.prepare(), current_rows(self._catalog)
        values = products(blocks, np.stack(queries))[:, rows]
        return [self._found(query, row) for query, row in zip(queries, values, strict=True)]

    def _found(self, query: np.ndarray, values: np.ndarray) -> VideoScores:
        error = rounding_error(query) * self.model.head.max_length
        return VideoScores(values, error, lambda videos: self.exact_scores(query, videos))

    def exact_scores(self, query: np.ndarray, videos: Sequence[int]) -> np.ndarray:
        """float32 [num_videos] of some videos."""
        return exact_products(self.vectors(videos), query)

    def bank_vectors(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, width]."""
        return self.model.texts(rows)

    def score_part(self, shard: Shard, videos: slice, queries: np.ndarray) -> np.ndarray:
        """float32 [num_videos, num_queries]."""
        block = self.prepare()[self._catalog.shard_names.index(shard.path.name)]
        scores: np.ndarray = block[videos].astype(np.float32) @ queries.T
        return scores

    def vectors(self, videos: Sequence[int]) -> np.ndarray:
        """float16 [num_videos, width] of some videos."""
        catalog, blocks = self._catalog, self.prepare()
        rows = zip(catalog["video_shard"][list(videos)], catalog["video_position"][list(videos)], strict=True)
        found = [blocks[shard][position] for shard, position in rows]
        return np.stack(found) if found else np.zeros((0, self.width), np.float16)

    def _vectors_of(self, shard: Shard) -> dict[str, np.ndarray]:
        features = shard.features
        videos = [features[start:stop] for start, stop in itertools.pairwise(shard.offsets.tolist())]
        return {VECTORS: self.model.heads.of_frames(videos)}


class RerankSpace:
    """A run whose score is not one inner product: nothing is kept of a video, the head scores it when it is asked."""

    def __init__(self, catalog: Catalog, model: RunModel) -> None:
        self._catalog, self.model = catalog, model
        self.key = model.key

    @property
    def logit_scale(self) -> float:
        """The one that training ended with."""
        return self.model.logit_scale

    def vector(self, query: QueryVectors) -> np.ndarray:
        """float32 [width]."""
        return query.ranking

    def score(self, query: np.ndarray) -> VideoScores:
        """Scores of all videos; the head works through every one, so this is for a store of few."""
        values = self.exact_scores(query, range(self._catalog.num_videos))
        return VideoScores(values, 0.0, lambda videos: values[list(videos)])

    def exact_scores(self, query: np.ndarray, videos: Sequence[int]) -> np.ndarray:
        """float32 [num_videos] of some videos, in the units of `vtr eval`."""
        scores: np.ndarray = self._scores(query[None], [self._catalog.features(video) for video in videos])[0]
        return scores

    def vectors(self, videos: Sequence[int]) -> np.ndarray:
        """Raises UsageError: one vector per video does not tell its scores."""
        raise self.model.no_vectors()

    def bank_vectors(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, width]."""
        return self.model.texts(rows).reshape(len(rows.mask), -1)

    def score_part(self, shard: Shard, videos: slice, queries: np.ndarray) -> np.ndarray:
        """float32 [num_videos, num_queries]."""
        offsets = shard.offsets[videos.start : videos.stop + 1].tolist()
        features = [shard.features[start:stop] for start, stop in itertools.pairwise(offsets)]
        return np.ascontiguousarray(self._scores(queries, features).T)

    def _scores(self, queries: np.ndarray, features: Sequence[np.ndarray]) -> np.ndarray:
        texts = queries.reshape(len(queries), *self.model.head.text_shape)
        return self.model.heads.scores(texts, self.model.heads.of_frames(features))


def run_space(
    catalog: Catalog, model: RunModel, *, on_progress: Callable[[int, int], None]
) -> RunSpace | RerankSpace:
    """Where a run scores videos: by vectors that are kept, or by its head alone."""
    if not model.head.is_inner_product:
        return RerankSpace(catalog, model)
    space = RunSpace(catalog, model)
    space.prepare(on_progress)
    return space
