"""What is evaluated, as `EvaluationInputs`: from a run and a store, or from files."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtrcli.errors import InputError, brief
from vtrcli.evaluation.evaluate import EvaluationInputs
from vtrcli.evaluation.protocol import system_of_store
from vtrcli.files import replacing, write_whole
from vtrcli.ranking.files import read_similarities, read_text_to_video
from vtrcli.ranking.listed import ListedScores
from vtrcli.ranking.scores import DenseScores, ScoreSource, VectorScores, check_matrix
from vtrcli.ranking.truth import Truth
from vtrcli.store.arrays import begin_npy
from vtrcli.store.config import MALFORMED
from vtrcli.store.reader import FeatureStore, unit_rows
from vtrcli.store.texts import TextRows
from vtrcli.text.streams import STREAMS
from vtrcli.text_files import decode_text

if TYPE_CHECKING:
    from vtrcli.datasets.match_store import JoinedSplit
    from vtrcli.model.runs import TrainedRun
    from vtrcli.text.streams import TaggerName

AnyScores = str | PathLike[str] | np.ndarray
AnyTruth = str | PathLike[str] | Sequence[int] | np.ndarray | Truth | None

MATRIX_FORMAT = "vtr-similarities"
_END_BYTES = 1 << 20
# Fields of EvaluationInputs that a saved matrix takes along, beside its truth.
_SAVED_NAMES = ("dataset", "split", "max_tokens", "texts", "caption_ids", "video_ids", "logit_scale")


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

    def logit_bias(self, store: FeatureStore) -> float | None:
        """The backbone's, where it was trained with a sigmoid. It moves no rank."""
        return store.config.backbone.logit_bias

    def videos(self, store: FeatureStore, video_ids: Sequence[str]) -> np.ndarray:
        """float32 [num_videos, dim], rows of length 1."""
        means = [unit_rows(store.features(video_id)).mean(axis=0) for video_id in video_ids]
        return unit_rows(np.stack(means))

    def texts(self, rows: TextRows) -> np.ndarray:
        """float32 [num_texts, dim], rows of length 1."""
        return unit_rows(rows.features[:, STREAMS.index("fusion")])


def from_matrix(
    similarities: AnyScores, *, text_to_video: AnyTruth = None, bank: AnyScores | None = None
) -> EvaluationInputs:
    """Any model's similarity matrix [num_texts, num_videos], as an array or a file.

    Without a mapping the truth is what `save_matrix` wrote beside the matrix's file, else its diagonal.

    Raises:
        InputError, UsageError: a file that cannot be read or does not hold what it must.
    """
    source = DenseScores(_scores(similarities))
    saved = None
    if not isinstance(similarities, np.ndarray) and text_to_video is None:
        saved = _saved_notes(Path(similarities), source.shape)
    known = saved or {"truth": _truth(source.shape, text_to_video)}
    return EvaluationInputs(
        source,
        model=_name(similarities),
        bank=None if bank is None else DenseScores(_scores(bank)),
        **known,
    )


def from_vectors(
    text_vectors: AnyScores,
    video_vectors: AnyScores,
    *,
    text_to_video: AnyTruth = None,
    bank: AnyScores | None = None,
) -> EvaluationInputs:
    """Vectors, [num_texts, dim] and [num_videos, dim], as arrays or files; their cosines are evaluated.

    Args:
        bank: vectors [num_bank, dim] of other texts.

    Raises:
        InputError, UsageError: as `from_matrix`.
    """
    texts, videos = (unit_rows(_scores(given)) for given in (text_vectors, video_vectors))
    source = VectorScores(texts, videos)
    return EvaluationInputs(
        source,
        _truth(source.shape, text_to_video),
        model=f"{_name(text_vectors)} and {_name(video_vectors)}",
        bank=None if bank is None else VectorScores(unit_rows(_scores(bank)), videos),
    )


def from_run(
    run: str | PathLike[str],
    qrels: str | PathLike[str],
    *,
    split: str = "test",
    relevant_from: int | None = None,
    num_videos: int | None = None,
) -> EvaluationInputs:
    """A run in the formats of information retrieval (`vtrcli.ranking.run_files`), with its qrels.

    A run that lists every video for every query is a matrix; any other lists the best ones, and only text to video can
    be counted (`vtrcli.ranking.listed`).

    Args:
        qrels: TREC's or ranx's file, or a BEIR folder, which names all videos and the texts, too.
        split: of a BEIR folder.
        relevant_from: the lowest grade that is right; None: 1.
        num_videos: how many were ranked, where run and qrels do not name all.

    Raises:
        InputError: files that are missing, damaged or do not belong together.
        UsageError: parquet without pyarrow.
    """
    from vtrcli.datasets import beir
    from vtrcli.datasets.qrels import read_qrels
    from vtrcli.ranking.run_files import read_run

    if not Path(qrels).exists():
        raise InputError(
            f"{qrels}: no such file", allowed="qrels are a file, or a BEIR folder", to_do="check the path"
        )
    qrels, cut = Path(qrels), beir.RELEVANT_FROM if relevant_from is None else relevant_from
    folder = beir.read_beir(qrels, split) if qrels.is_dir() else None
    judgments = folder.judgments if folder else read_qrels(qrels)
    read = read_run(
        Path(run),
        judgments,
        relevant_from=cut,
        corpus=folder.item_ids if folder else (),
        query_order=tuple(folder.queries) if folder else (),
        num_videos=num_videos,
    )
    matrix = read.scores.dense()
    grades = sorted({judgment.grade for judgment in judgments})
    graded = grades[-1] > 1
    listed = None if matrix is not None else _listed_note(read.scores)
    return EvaluationInputs(
        read.scores if matrix is None else DenseScores(matrix),
        read.truth,
        model=str(run),
        dataset=str(qrels) if folder else None,
        split=split if folder else None,
        texts=tuple(folder.queries[name] for name in read.query_ids) if folder else (),
        caption_ids=read.query_ids,
        video_ids=read.video_ids,
        relevant_from=cut,
        notes=(
            *([f"grades are {grades[0]} to {grades[-1]}; right is what has {cut} or more"] if graded else []),
            *([listed] if listed else []),
            *read.notes,
        ),
    )


def _listed_note(scores: ListedScores) -> str:
    return (
        f"the run lists {scores.listed_in_words} of {scores.shape[1]:,} videos for a text: "
        "what is not listed ranks last, in no order; video to text needs all pairs and is left out"
    )


def _scores(given: AnyScores) -> np.ndarray:
    if not isinstance(given, np.ndarray):
        return read_similarities(Path(given))
    check_matrix(given)
    return given


def _name(given: AnyScores) -> str:
    """What the result calls the model."""
    return "x".join(map(str, given.shape)) + " array" if isinstance(given, np.ndarray) else str(given)


def from_store(
    store: Path,
    *,
    run: Path | None,
    dataset: str,
    annotations: Path,
    split: str,
    tagger: TaggerName = "hanta",
    max_tokens: int | None = None,
    device: str = "auto",
    allow_missing: bool = False,
    use_train_bank: bool = False,
) -> EvaluationInputs:
    """The cached features of a split, through a trained run or (None) as zero-shot CLIP with mean pooling.

    Captions that are not cached yet are encoded first.

    Args:
        max_tokens: of a text, start and end included; None: as the run was trained, else the data set's.
        use_train_bank: give the training captions as a bank.

    Raises:
        UsageError, InputError: the data set; videos that the store lacks (unless `allow_missing`).
        StoreError, WeightsError: store, run or weights; a run that does not fit the store.
    """
    # A matrix needs nothing of data sets, captions and models.
    from vtrcli.datasets.match_store import join_with_store, require_complete
    from vtrcli.datasets.registry import load_split, text_limit
    from vtrcli.model.runs import TrainedRun
    from vtrcli.text.cache import cache_texts, open_text_cache, unread
    from vtrcli.text.streams import load_tagger

    opened = FeatureStore(store)
    joined = join_with_store(load_split(dataset, annotations, split), opened.videos, paths=opened.paths)
    require_complete(joined, allow_missing=allow_missing)
    model = TrainedRun(run, device=device) if run is not None else MeanVectors()
    model.require_fit(opened)
    tagger_id = load_tagger(tagger).id
    require_tagger(model, tagger_id, run)
    limit = max_tokens or model.max_tokens or text_limit(dataset)
    train = load_split(dataset, annotations, "train").captions if use_train_bank else ()
    bank_texts = list(dict.fromkeys(caption.text for caption in train))
    text_of = {caption.caption_id: caption.text for caption in joined.captions}
    row_of, texts = {name: row for row, name in enumerate(text_of)}, list(text_of.values())
    cache_texts(opened, [*texts, *bank_texts], tagger=tagger, max_tokens=limit, device=device)
    cache = open_text_cache(opened, tagger_id=tagger_id, max_tokens=limit)
    rows = cache.rows(texts)
    not_read = unread(texts, opened.config.backbone, num_cut=cache.num_cut(texts), limit=limit)
    videos = model.videos(opened, joined.video_ids)
    number = {video_id: row for row, video_id in enumerate(joined.video_ids)}
    truth = Truth.from_pairs(
        [(row_of[caption.caption_id], number[caption.video_id]) for caption in joined.captions],
        num_texts=len(texts),
        num_videos=len(videos),
    )
    return EvaluationInputs(
        model_scores(model, model.texts(rows), videos),
        truth,
        model=model.name,
        dataset=dataset,
        split=split,
        max_tokens=limit,
        texts=tuple(texts),
        caption_ids=tuple(text_of),
        video_ids=joined.video_ids,
        categories=joined.categories,
        store=opened,
        bank=model_scores(model, model.texts(cache.rows(bank_texts)), videos) if bank_texts else None,
        logit_scale=model.logit_scale(opened),
        system=system_of_store(
            opened.config, model.config if isinstance(model, TrainedRun) else None, tagger=tagger_id
        ),
        logit_bias=model.logit_bias(opened) if isinstance(model, MeanVectors) else None,
        unread=not_read.to_json(),
        notes=(*_missing_note(joined), *not_read.notes, *_limit_note(limit, text_limit(dataset), dataset)),
    )


def require_tagger(model: TrainedRun | MeanVectors, tagger_id: str, run: Path | None) -> None:
    """Raises InputError unless texts are split as they were when the run was trained."""
    if model.tagger_id not in (None, tagger_id):
        raise InputError(
            f"run {run} was trained with the tagger {model.tagger_id}, now it is {tagger_id}",
            allowed="the tagger that the run was trained with",
            to_do="choose it with --tagger, or install that version",
        )


def model_scores(model: TrainedRun | MeanVectors, texts: np.ndarray, videos: np.ndarray) -> ScoreSource:
    """Products made when they are asked for; all scores at once where a head's score is no inner product."""
    if isinstance(model, MeanVectors) or model.config.head.is_inner_product:
        return VectorScores(texts, videos)
    return DenseScores(model.scores(texts, videos))


def _missing_note(joined: JoinedSplit) -> tuple[str, ...]:
    if not joined.missing_videos:
        return ()
    return (
        f"{len(joined.missing_videos):,} videos and {joined.num_missing_captions:,} captions of the split are not in "
        "the store and were left out: the numbers cannot be compared with published ones",
    )


def _limit_note(limit: int | None, published: int | None, dataset: str) -> tuple[str, ...]:
    if limit == published or published is None:
        return ()
    return (
        f"texts are read up to {limit} tokens, published numbers of {dataset} up to {published}: "
        "they are not to be compared",
    )


def _truth(shape: tuple[int, int], given: AnyTruth) -> Truth:
    """The diagonal, what a file says, or int [num_texts] or [num_pairs, 2]."""
    if given is None:
        return Truth.diagonal(shape)
    if isinstance(given, Truth):
        return given
    if isinstance(given, (str, PathLike)):
        return read_text_to_video(Path(given), num_texts=shape[0], num_videos=shape[1])
    index = np.asarray(given)
    pairs = np.stack([np.arange(len(index)), index], axis=1) if index.ndim == 1 else index
    return Truth.from_pairs(pairs, num_texts=shape[0], num_videos=shape[1])


def save_matrix(inputs: EvaluationInputs, path: Path) -> None:
    """Write all scores as a .npy file, float32 [num_texts, num_videos], row block by row block.

    Beside it stands a JSON file of the same name with what the scores alone do not say: truth, logit scale, names of
    texts and videos; `from_matrix` reads both. Each file is there whole or not at all; the matrix may even be the one
    that the scores are mapped from.

    Raises:
        StoreError: a file cannot be written.
        InputError: a run that does not list all pairs.
    """
    source, truth = inputs.source, inputs.truth
    num_texts, num_videos = source.shape
    if isinstance(source, ListedScores):
        raise InputError(
            f"{path}: a matrix of a run that lists {int(source.lengths.sum()):,} of {num_texts * num_videos:,} pairs",
            allowed="a matrix has a score for every pair",
            to_do="write the run with --save-run",
        )
    rows_at_once = max(1, 2**24 // max(1, num_videos))
    with replacing(path) as temporary, open(temporary, "xb") as file:
        begin_npy(file, shape=source.shape, dtype="float32")
        for start in range(0, num_texts, rows_at_once):
            rows = slice(start, min(start + rows_at_once, num_texts))
            file.write(np.ascontiguousarray(source.block(rows, slice(0, num_videos)), "<f4").tobytes())
    body = {
        "format": MATRIX_FORMAT,
        "version": 1,
        "shape": list(source.shape),
        "ends_crc32": _ends_crc32(path),
        "pairs": np.stack([truth.text_index, truth.video_index], axis=1).tolist(),
        **{name: getattr(inputs, name) for name in _SAVED_NAMES},
    }
    write_whole(matrix_notes(path), json.dumps(body).encode())


def matrix_notes(path: Path) -> Path:
    """The JSON file beside a saved matrix."""
    return path.with_name(f"{path.name}.json")


def _saved_notes(path: Path, shape: tuple[int, int]) -> dict[str, Any] | None:
    """What `save_matrix` wrote beside a matrix, with its truth; None where there is no such file.

    Raises:
        InputError: the file is damaged, or belongs to another matrix.
    """
    notes = matrix_notes(path)
    try:
        body: dict[str, Any] = json.loads(decode_text(notes.read_bytes(), name=str(notes)))
        if body["format"] != MATRIX_FORMAT:
            return None
        if body["shape"] != list(shape) or body["ends_crc32"] != _ends_crc32(path):
            raise ValueError("it was written with another matrix")
        truth = Truth.from_pairs(np.array(body["pairs"], np.int64), num_texts=shape[0], num_videos=shape[1])
        found: dict[str, Any] = {"truth": truth, **{name: body[name] for name in _SAVED_NAMES}}
        for name, size in (("texts", shape[0]), ("caption_ids", shape[0]), ("video_ids", shape[1])):
            found[name] = tuple(map(str, found[name]))
            if len(found[name]) not in (0, size):
                raise ValueError(f"{len(found[name])} {name}")
        scale = found["logit_scale"]
        found["logit_scale"] = None if scale is None else float(scale)
        return found
    except (FileNotFoundError, NotADirectoryError):
        return None
    except MALFORMED as cause:
        raise InputError(
            f"{notes} cannot be used: {brief(cause)}",
            allowed=f"what `vtr eval --save-similarities` wrote beside {path.name}",
            to_do="save the matrix again, or delete that file and give --text-to-video",
        ) from cause


def _ends_crc32(path: Path) -> int:
    """A checksum over the size and the first and last MiB: enough to tell two matrices apart."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        checksum = zlib.crc32(file.read(_END_BYTES), size & 0xFFFFFFFF)
        file.seek(max(0, size - _END_BYTES))
        return zlib.crc32(file.read(_END_BYTES), checksum)
