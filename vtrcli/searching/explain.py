"""Why a video scores what it scores for a sentence: what the model sees, in parts that add up to the score.

Without a run: the cosine of each frame with the sentence. With one also which words went to which of its streams, how
its gate weighs them, and what each expert made of each frame; a head that cannot tell says so.

Letters: F frames of the video, G of them that the head looked at, E experts.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vtrcli.moments.moment import Moment
from vtrcli.searching.query import Query
from vtrcli.searching.scores import exact_products
from vtrcli.store.reader import unit_rows
from vtrcli.text.streams import STREAMS, split_streams, words_of

if TYPE_CHECKING:
    from vtrcli.searching.run import RunModel
    from vtrcli.searching.searcher import Searcher
    from vtrcli.store.texts import TextRows
    from vtrcli.text.streams import Stream, Word


@dataclass(frozen=True, kw_only=True)
class Expert:
    """One expert of the head, and the stream of the text that it is compared with.

    Attributes:
        text: the stream's words; the sentence where it has none, and then `is_masked`.
        gate: its weight in the score. A masked stream has 0, but by the gate "video", which weighs experts by the video
            alone and compares a masked one with the whole sentence.
        score: its cosine: the mean of `frame_scores` by `frame_weights`.
        frame_scores, frame_weights: float32 [G]; weights have sum 1. What a frame's score is: see the head's `explain`.
    """

    name: Stream
    text: str
    is_masked: bool
    gate: float
    score: float
    frame_scores: np.ndarray
    frame_weights: np.ndarray

    @property
    def contribution(self) -> float:
        """What it adds to the score."""
        return self.gate * self.score

    def to_json(self) -> dict[str, Any]:
        """The keys of one expert."""
        return {
            "name": self.name,
            "text": self.text,
            "masked": self.is_masked,
            "gate": round(self.gate, 6),
            "score": round(self.score, 6),
            "contribution": round(self.contribution, 6),
            "frame_scores": _rounded(self.frame_scores),
            "frame_weights": _rounded(self.frame_weights),
        }


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Of one sentence and one video.

    Attributes:
        sentence: in Unicode's composed form, which the places of `words` count in.
        score: what a search ranks this video by, before a correction; `scored_by` says what makes it: run, or the
            pooling of the frames' scores (max, mean, softmax).
        timestamps, frame_scores: float32 [F], seconds, and cosines of the frames with the sentence (plain CLIP), by
            which moments are found.
        words: with a run, those that its tagger saw, with their streams.
        experts, expert_timestamps: with a run, in its head's order, and float32 [G]; empty where the head cannot tell.
        head: the run's head, and of CAMoE its `gate` and `aggregator`; empty without a run.
        note: why there is less than that; empty where there is all.
    """

    sentence: str
    video_id: str
    path: str
    duration_seconds: float | None
    score: float
    scored_by: str
    timestamps: np.ndarray
    frame_scores: np.ndarray
    moments: tuple[Moment, ...]
    run: str | None = None
    head: dict[str, Any] = field(default_factory=dict)
    words: tuple[Word, ...] = ()
    experts: tuple[Expert, ...] = ()
    expert_timestamps: np.ndarray
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Seconds and cosine units; the experts' contributions add up to `score`, to rounding."""
        return {
            "query": self.sentence,
            "video_id": self.video_id,
            "path": self.path or None,
            "duration_seconds": self.duration_seconds,
            "score": round(self.score, 6),
            "scored_by": self.scored_by,
            "timestamps": _rounded(self.timestamps, 3),
            "frame_scores": _rounded(self.frame_scores),
            "moments": [moment.to_json() for moment in self.moments],
            "run": self.run,
            "head": self.head or None,
            "words": [vars(word) for word in self.words],
            "expert_timestamps": _rounded(self.expert_timestamps, 3),
            "experts": [expert.to_json() for expert in self.experts],
            "note": self.note or None,
        }


def explain(searcher: Searcher, sentence: str, video: int) -> Explanation:
    """How a video, by its number in the catalogue, comes to its score for a sentence.

    Raises:
        InputError: an empty or oversized sentence; another version of the run's tagger is installed.
        WeightsError, StoreError: the towers or the run cannot be loaded; damaged features.
    """
    catalog = searcher.catalog
    vectors = searcher.encode(Query(text=sentence))
    features, timestamps = catalog.features(video), catalog.timestamps(video)
    known: dict[str, Any] = {
        "sentence": unicodedata.normalize("NFC", sentence.strip()),
        "video_id": catalog.ids[video],
        "path": catalog.paths[video],
        "duration_seconds": catalog.duration(video),
        "score": searcher.finder.score(vectors, video),
        "scored_by": searcher.finder.scored_by,
        "timestamps": timestamps,
        "frame_scores": exact_products(unit_rows(features), vectors.clip),
        "moments": tuple(searcher.moments(video, vectors.clip)),
    }
    nothing = np.zeros(0, np.float32)
    run = searcher.run
    if run is None:
        note = "no run ranks here: the frames' scores are all there is; --run names one"
        return Explanation(**known, expert_timestamps=nothing, note=note)
    head = run.head.to_json()
    head = {"name": run.head.name, **{key: head[key] for key in ("gate", "aggregator") if key in head}}
    words, texts, rows = _read(searcher, run, sentence.strip())
    parts, chosen = run.heads.explain(rows, features)
    known |= {"run": str(run.run), "head": head, "words": words}
    if parts is None:
        note = f"the head {run.head.name!r} cannot tell how its score comes about"
        return Explanation(**known, expert_timestamps=nothing, note=note)
    is_there = dict(zip(STREAMS, rows.mask[0].tolist(), strict=True))
    experts = [
        Expert(
            name=name,
            text=texts[name],
            is_masked=not is_there[name],
            gate=float(parts.gate[number]),
            score=float(parts.expert_scores[number]),
            frame_scores=parts.frame_scores[number],
            frame_weights=parts.frame_weights[number],
        )
        for number, name in enumerate(run.config.settings.experts)
    ]
    is_thinned = len(chosen) < len(timestamps)
    return Explanation(
        **known,
        experts=tuple(experts),
        expert_timestamps=timestamps[chosen],
        note=f"the run looks at {len(chosen):,} of {len(timestamps):,} frames" if is_thinned else "",
    )


def _read(
    searcher: Searcher, run: RunModel, sentence: str
) -> tuple[tuple[Word, ...], dict[Stream, str], TextRows]:
    """The words of a sentence, the text of each stream, and their features as a search has them."""
    streams = split_streams(sentence, run.tagger)
    rows = searcher.encoder.streams_of(run, [sentence])
    texts: dict[Stream, str] = {"fusion": sentence, "entity": streams.entity, "action": streams.action}
    return tuple(words_of(sentence, run.tagger)), texts, rows


def _rounded(values: np.ndarray, digits: int = 6) -> list[float]:
    return [round(value, digits) for value in values.astype(np.float64).tolist()]
