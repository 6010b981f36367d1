"""A store, and if wanted a trained run, as a model of mteb's own tasks (its `SearchProtocol`): extra `mteb`.

    import mteb
    from vtrcli.evaluation.mteb_model import StoreModel
    mteb.evaluate(StoreModel("msrvtt.store", run="runs/first"), mteb.get_task("MSRVTTT2V"))

mteb decodes no video then: each of its videos is found in the store, by content where the task has the bytes or the
file, else by the name of its file. What the store lacks is an error, and `save_videos` writes the files to extract.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtrcli import __version__
from vtrcli.datasets.files import first_few
from vtrcli.datasets.match_store import ids_in_store
from vtrcli.errors import InputError, UsageError
from vtrcli.evaluation.inputs import MeanVectors, model_scores
from vtrcli.files import make_folder, write_whole
from vtrcli.model.runs import TrainedRun
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import file_content
from vtrcli.text.cache import cache_texts, open_text_cache
from vtrcli.text.streams import TaggerName, load_tagger

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.models import ModelMeta

_VIDEO = "video"


class StoreModel:
    """Answers mteb's searches from cached features; either side may be the videos.

    Args:
        store: a feature store; run: a trained run, or None for zero-shot by the mean of frames.
        max_tokens: of a text, start and end included; None: as the run was trained, else all that the backbone reads.

    Raises:
        StoreError, WeightsError: store, run or weights; a run that does not fit the store.
    """

    def __init__(
        self,
        store: str | PathLike[str],
        *,
        run: str | PathLike[str] | None = None,
        tagger: TaggerName = "hanta",
        max_tokens: int | None = None,
        device: str = "auto",
    ) -> None:
        self._store = FeatureStore(Path(store))
        self._model = TrainedRun(Path(run), device=device) if run is not None else MeanVectors()
        self._model.require_fit(self._store)
        self._tagger, self._device = tagger, device
        self._limit = max_tokens or self._model.max_tokens
        self._corpus: tuple[list[str], bool, np.ndarray] | None = None

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """Name and revision tell backbone, head and weights apart, so that mteb's cache never mixes two."""
        from mteb.models import ModelMeta

        backbone = self._store.config.backbone
        run = self._model if isinstance(self._model, TrainedRun) else None
        settings = repr(
            (backbone.sha256, self._store.config.sampling, self._limit, run and run.config.to_json())
        )
        name = re.sub(r"[^\w.-]+", "-", Path(backbone.name).name)
        about = {
            "name": f"vtr/{name}-{'mean-of-frames' if run is None else run.config.settings.head}",
            "revision": hashlib.sha256(f"{__version__} {settings}".encode()).hexdigest()[:16],
            "modalities": ["text", "video"],
            "max_tokens": self._limit,
        }
        return ModelMeta.create_empty(overwrites=about)

    def index(self, corpus: Dataset, **_: Any) -> None:
        """Find the videos, or encode the texts, that are ranked. Raises InputError: videos that the store lacks."""
        self._corpus = self._encoded(corpus)

    def search(
        self,
        queries: Dataset,
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Query id -> id -> score, of the `top_k` best; of a reranking task those of its candidates."""
        if self._corpus is None:
            raise UsageError("a search without a corpus", allowed="index() first", to_do="call mteb.evaluate")
        ids, videos_are_ranked, items = self._corpus
        names, videos_ask, vectors = self._encoded(queries)
        if videos_are_ranked == videos_ask:
            raise UsageError(
                f"{'videos' if videos_ask else 'texts'} on both sides of a task",
                allowed="texts that look for videos, or videos that look for texts",
                to_do="choose a task of text-to-video or video-to-text retrieval",
            )
        texts, videos = (items, vectors) if videos_ask else (vectors, items)
        source = model_scores(self._model, texts, videos)
        place = {name: number for number, name in enumerate(ids)}
        found = {}
        for number, name in enumerate(names):
            one, every = slice(number, number + 1), slice(0, len(ids))
            row = source.block(every, one)[:, 0] if videos_ask else source.block(one, every)[0]
            of_row = np.arange(len(ids))
            if top_ranked is not None:
                of_row = np.array([place[one] for one in top_ranked[name]], np.int64)
            best = of_row[np.argsort(-row[of_row], kind="stable")[:top_k]]
            found[name] = {ids[item]: float(row[item]) for item in best.tolist()}
        return found

    def _encoded(self, rows: Dataset) -> tuple[list[str], bool, np.ndarray]:
        """Ids, whether they are videos, and their vectors."""
        ids = [str(name) for name in rows["id"]]
        if _VIDEO in rows.column_names:
            return ids, True, self._model.videos(self._store, self._store_ids(rows, ids))
        texts = [str(text) for text in rows["text"]]
        cache_texts(self._store, texts, tagger=self._tagger, max_tokens=self._limit, device=self._device)
        tagger_id = load_tagger(self._tagger).id
        cache = open_text_cache(self._store, tagger_id=tagger_id, max_tokens=self._limit)
        return ids, False, self._model.texts(cache.rows(texts))

    def _store_ids(self, rows: Dataset, ids: Sequence[str]) -> list[str]:
        by_content = {
            location.record.content: video_id
            for video_id, location in self._store.videos.items()
            if location.record.content is not None
        }
        found: list[str | None] = []
        names: list[str] = []
        for name, (path, content) in zip(ids, _files(rows), strict=True):
            digest = _digest(path, content)
            found.append(None if digest is None else by_content.get(digest))
            names.append(Path(path).name if path else name)
        rest = [name for name, one in zip(names, found, strict=True) if one is None]
        by_name = ids_in_store(rest, self._store.videos, self._store.paths)
        matched = [one or by_name.get(name) for name, one in zip(names, found, strict=True)]
        missing = [name for name, one in zip(names, matched, strict=True) if one is None]
        if missing:
            raise InputError(
                f"{len(missing):,} of {len(ids):,} videos of the task are not in the store: {first_few(missing)}",
                allowed="every video of a task takes part, else its numbers are no numbers of the task",
                to_do="write them with save_videos(task, FOLDER), and run `vtr extract FOLDER`",
            )
        return [one for one in matched if one is not None]


def save_videos(rows: Dataset, folder: str | PathLike[str]) -> list[Path]:
    """Write the videos of a task's corpus (or queries) that it holds as bytes, for `vtr extract`; existing ones stay.

    Raises:
        StoreError: a file cannot be written.
    """
    folder = Path(folder)
    make_folder(folder, allowed="a folder that can be written", to_do="choose another folder")
    written = []
    for number, (path, content) in enumerate(_files(rows)):
        if content is None:
            continue
        name = re.sub(r"[^\w.-]+", "_", Path(path).name).lstrip(".-") if path else ""
        target = folder / (f"{number}-{name}" if name else f"{number}.mp4")
        if not target.exists():
            write_whole(target, content)
        written.append(target)
    return written


def _files(rows: Dataset) -> Iterator[tuple[str | None, bytes | None]]:
    """Path and bytes of each video, as far as the task has them; nothing is decoded."""
    import datasets

    if isinstance(rows.features[_VIDEO], datasets.Video):
        rows = rows.cast_column(_VIDEO, datasets.Video(decode=False))
    for row in rows.select_columns([_VIDEO]):
        video = row[_VIDEO]
        if isinstance(video, Mapping):
            yield video.get("path"), video.get("bytes")
        else:
            yield str(video), None


def _digest(path: str | None, content: bytes | None) -> str | None:
    """SHA-256 of the whole file, as a store records it; None where it cannot be had."""
    if content is not None:
        return hashlib.sha256(content).hexdigest()
    return file_content(Path(path)) if path and Path(path).is_file() else None
