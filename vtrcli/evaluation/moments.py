"""`evaluate_moments`: the use case behind `vtr eval --moments`, for anybody's predictions or those of a store.

The result can be kept query by query (`write_scores`), so that `vtr compare` tests two of them later.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import InputError, brief
from vtrcli.evaluation.protocol import with_fingerprint
from vtrcli.files import write_whole
from vtrcli.moments.files import Predictions
from vtrcli.moments.metrics import (
    HIGHLIGHT_COLUMNS,
    MOMENT_COLUMNS,
    REFERENCE,
    TASKS,
    Conventions,
    MomentScores,
    Scores,
    Task,
    compare_scores,
    reference_metrics,
    score_corpus,
    score_moments,
)
from vtrcli.ranking.metrics import DEFAULT_NUM_BOOTSTRAP, PairedTest
from vtrcli.store.config import MALFORMED
from vtrcli.store.reader import FeatureStore
from vtrcli.text_files import decode_text

SCORES_FORMAT = "vtr-moment-scores"


@dataclass(frozen=True, repr=False)
class MomentInputs:
    """What is evaluated, from wherever it came.

    Attributes:
        model: what made the predictions, for people.
        store: where the frames of the videos are, and `store_ids`, per query, which of its videos is meant; for the
            report. None and empty for files.
        system: what answered, for the protocol (`vtrcli.evaluation.protocol.SYSTEM`); empty for files.
    """

    predictions: Predictions
    model: str
    dataset: str | None = None
    split: str | None = None
    store: FeatureStore | None = None
    store_ids: tuple[str, ...] = ()
    system: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MomentSettings:
    """How to evaluate. `num_bootstrap` 0: no intervals."""

    conventions: Conventions = REFERENCE
    num_bootstrap: int = DEFAULT_NUM_BOOTSTRAP
    seed: int = 0


@dataclass(frozen=True, repr=False)
class MomentEvaluation:
    """`scores` is None where only a corpus was searched, `corpus` is empty where none was. `intervals`: per part
    (`full`, `short` …, `highlights`, `VCMR` …) name -> (low, high) in percent."""

    inputs: MomentInputs
    settings: MomentSettings
    scores: MomentScores | None
    corpus: Mapping[Task, Scores]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        full = self.parts.get("full")
        headline = (
            "" if full is None else f": R1@0.5 {full.percent('R1@0.5'):.1f}, mAP {full.percent('mAP'):.1f}"
        )
        return f"<MomentEvaluation of {len(self.inputs.predictions.truth):,} queries{headline}>"

    @property
    def parts(self) -> dict[str, Scores]:
        """All that was scored: windows by length, highlights, the tasks of a corpus."""
        parts: dict[str, Scores] = {}
        if self.scores is not None:
            parts.update(self.scores.groups.items())
            if self.scores.highlights is not None:
                parts["highlights"] = self.scores.highlights
        parts.update(self.corpus.items())
        return parts

    def table(self) -> list[dict[str, Any]]:
        """One row per part, the `results` of `vtr eval --moments --json`; `pandas.DataFrame` takes it. Percent."""
        return [self._row(name, scores) for name, scores in self.parts.items()]

    def _row(self, name: str, scores: Scores) -> dict[str, Any]:
        values = {column: _number(scores.percent(column)) for column in columns_of(name, scores)}
        ends = self.intervals.get(name, {})
        return {
            "part": name,
            "num_queries": scores.num_queries,
            "num_clusters": len(np.unique(scores.clusters)),
            **values,
            **{f"{column}_ci95": [round(low, 3), round(high, 3)] for column, (low, high) in ends.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr eval --moments --json`. `reference` has the names and roundings of QVHighlights' evaluator;
        what has no query is null."""
        inputs, truth = self.inputs, self.inputs.predictions.truth
        return {
            "task": "moments",
            "model": inputs.model,
            "dataset": inputs.dataset,
            "split": inputs.split,
            "num_queries": len(truth),
            "num_videos": len(set(truth.video_ids)),
            "num_windows": len(truth.windows.values),
            "conventions": asdict(self.settings.conventions),
            "protocol": protocol_of_moments(self),
            "results": self.table(),
            "reference": None if self.scores is None else _without_nan(reference_metrics(self.scores)),
            "notes": list(self.notes),
        }


def protocol_of_moments(result: MomentEvaluation) -> dict[str, Any]:
    """What the numbers rest on, with a fingerprint over it."""
    inputs, truth = result.inputs, result.inputs.predictions.truth
    return with_fingerprint(
        {
            "dataset": inputs.dataset,
            "split": inputs.split,
            "queries": _queries_hash(result),
            "num_queries": len(truth),
            "num_videos": len(set(truth.video_ids)),
            "conventions": asdict(result.settings.conventions),
            **inputs.system,
        }
    )


def columns_of(part: str, scores: Scores) -> tuple[str, ...]:
    """What is shown and compared of a part."""
    if part == "highlights":
        return HIGHLIGHT_COLUMNS
    return tuple(scores.values) if part in TASKS else MOMENT_COLUMNS


def _number(percent: float) -> float | None:
    return None if math.isnan(percent) else round(percent, 6)


def _without_nan(body: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nan(value) if isinstance(value, dict) else None if math.isnan(value) else value
        for key, value in body.items()
    }


def evaluate_moments(inputs: MomentInputs, settings: MomentSettings | None = None) -> MomentEvaluation:
    """Score predicted moments, by length, with highlights and over a corpus where they were predicted."""
    settings = settings or MomentSettings()
    given = inputs.predictions
    scores = None
    if given.windows is not None:
        scores = score_moments(given.truth, given.windows, given.saliency, conventions=settings.conventions)
    corpus = score_corpus(given.corpus_truth, given.corpus) if given.corpus else {}
    plain = MomentEvaluation(inputs, settings, scores, corpus)
    intervals = {
        name: part.intervals(columns_of(name, part), num_bootstrap=settings.num_bootstrap, seed=settings.seed)
        for name, part in plain.parts.items()
        if part.num_queries and settings.num_bootstrap
    }
    notes = tuple(dict.fromkeys([*given.truth.notes, *inputs.notes, *given.notes]))
    return MomentEvaluation(inputs, settings, scores, corpus, intervals, notes)


@dataclass(frozen=True)
class ScoresFile:
    """What every query got, read back: parts by name, and what tells whether two files are about the same queries."""

    path: Path
    parts: Mapping[str, Scores]
    conventions: Mapping[str, Any]
    queries: str
    query_ids: Sequence[str]


def write_scores(result: MomentEvaluation, path: Path) -> None:
    """Write every query's values as JSON, for `vtr compare`. Raises StoreError when it cannot be written."""
    truth = result.inputs.predictions.truth
    body = {
        "format": SCORES_FORMAT,
        "version": 1,
        "model": result.inputs.model,
        "conventions": asdict(result.settings.conventions),
        "query_ids": [str(query_id) for query_id in truth.query_ids],
        "queries": _queries_hash(result),
        "parts": {
            name: {
                "queries": scores.queries.tolist(),
                "clusters": scores.clusters.tolist(),
                "values": {column: scores.values[column].tolist() for column in columns_of(name, scores)},
            }
            for name, scores in result.parts.items()
            if scores.num_queries
        },
    }
    write_whole(path, json.dumps(body).encode())


def _queries_hash(result: MomentEvaluation) -> str:
    """Of ids, texts, videos and true windows, in the order of the queries."""
    truth = result.inputs.predictions.truth
    names = zip(truth.query_ids, truth.texts, truth.video_ids, strict=True)
    digest = hashlib.sha256("".join(f"{one}\0{two}\0{three}\0" for one, two, three in names).encode())
    digest.update(truth.windows.offsets.astype("<i8").tobytes())
    digest.update(truth.windows.values.astype("<f8").tobytes())
    return digest.hexdigest()


def is_scores_file(path: Path) -> bool:
    """Whether a file is what `write_scores` wrote; what it holds is not looked at."""
    try:
        with open(path, "rb") as file:
            return f'"{SCORES_FORMAT}"'.encode() in file.read(200)
    except OSError:
        return False


def read_scores(path: Path) -> ScoresFile:
    """Read what `write_scores` wrote. Raises InputError: missing, or not such a file."""
    try:
        body: dict[str, Any] = json.loads(decode_text(path.read_bytes(), name=str(path)))
        if body["format"] != SCORES_FORMAT or body["version"] != 1:
            raise ValueError("it holds no scores of moments")
        parts = {str(name): _saved_scores(part) for name, part in body["parts"].items()}
        names = [str(name) for name in body["query_ids"]]
        return ScoresFile(path, parts, dict(body["conventions"]), str(body["queries"]), names)
    except FileNotFoundError:
        raise _unreadable(path, "it is not there") from None
    except MALFORMED as cause:
        raise _unreadable(path, brief(cause)) from cause


def _saved_scores(part: dict[str, Any]) -> Scores:
    queries, clusters = (np.array(part[name], np.int64) for name in ("queries", "clusters"))
    values = {str(name): np.array(column, np.float64) for name, column in part["values"].items()}
    for column in (clusters, *values.values()):
        if column.shape != queries.shape or queries.ndim != 1 or not np.isfinite(column).all():
            raise ValueError("its columns are not of one length, or not finite")
    return Scores(queries=queries, clusters=clusters, values=values)


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} cannot be compared: {why}",
        allowed="a file of scores of moments",
        to_do="write one with `vtr eval --moments … --save-ranks FILE.json`",
    )


def compare_files(a: ScoresFile, b: ScoresFile) -> dict[str, dict[str, PairedTest]]:
    """Part -> name -> the test of B against A, of what both have.

    Raises:
        InputError: they are about other queries, were scored by other conventions, or have nothing in common.
    """
    again = "evaluate both against the same truth with --save-ranks"
    if a.queries != b.queries:
        other = len(set(a.query_ids) ^ set(b.query_ids))
        what = f"{other:,} ids are in one of them only" if other else "texts, videos or true windows differ"
        raise InputError(
            f"{a.path} and {b.path} hold other queries: {what}",
            allowed="a paired test needs the same queries, in the same order on both sides",
            to_do=again,
        )
    if a.conventions != b.conventions:
        differing = ", ".join(
            name for name, value in a.conventions.items() if b.conventions.get(name) != value
        )
        raise InputError(
            f"{a.path} and {b.path} were scored by other conventions: {differing}",
            allowed="the same conventions on both sides",
            to_do=again,
        )
    both = [name for name in a.parts if name in b.parts]
    if not both:
        raise InputError(
            f"{a.path} has {', '.join(a.parts) or 'nothing'}, {b.path} has {', '.join(b.parts) or 'nothing'}",
            allowed="parts that both have",
            to_do=again,
        )
    return {name: compare_scores(a.parts[name], b.parts[name]) for name in both}
