"""Does relevance separate on a model that was trained with a sigmoid as it does on CLIP? Made cosines of both kinds.

    python benchmarks/scales.py [--num-videos 400]

Real weights are not needed: texts and frames are drawn so that their cosines lie as published models' do, CLIP's
between 0.15 and 0.35 (logit scale 100), SigLIP's between -0.05 and 0.15 (110, bias -12), a third like SigLIP's but
lower. All else is the same, draw for draw. They go through a store, a query bank and `Searcher`, as any search does.
Prints Markdown: the 1st and 99th percentile of both kinds of pairs, the AUC of relevance between right and unrelated
pairs, what passes `--min-relevance 3`, and R@1 of each query alone, plain and with the bank (the captions of the
store's videos but the query's own are in it, and as many others).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.searching.query import Query, QueryVectors, SearchMethod, SearchSettings
from vtrcli.searching.searcher import Searcher
from vtrcli.store.config import BANK_NAME, BackboneInfo, StoreConfig, create_config
from vtrcli.store.records import VideoRecord
from vtrcli.store.texts import TextRows, write_text_file
from vtrcli.store.writer import StoreWriter
from vtrcli.text.streams import STREAMS

SHA256 = "5c" * 32
SIGNAL_DIM, PRIVATE_DIM, NUM_FRAMES = 64, 200, 3
NUM_JUDGED = 100
LEAST = 3.0  # as docs/search.md recommends
METHODS: tuple[SearchMethod | None, ...] = (None, "nnn", "inverted-softmax", "dsl")


@dataclass(frozen=True)
class Model:
    """`offset`: the cosine of a text with a picture that has nothing to do with it, on average."""

    name: str
    offset: float
    logit_scale: float
    logit_bias: float | None


MODELS = (
    Model("like CLIP", 0.20, 100.0, None),
    Model("like SigLIP", 0.0, 110.0, -12.0),
    Model("lower", -0.05, 110.0, -12.0),
)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    found: np.ndarray = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return found


def made_vectors(model: Model, num_videos: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts [num_videos, dim], their videos [num_videos, NUM_FRAMES, dim], captions of a bank [2 x num_videos, dim],
    of the same videos in other words and of some that are not there; float32, rows of length 1."""
    rng = np.random.default_rng(0)
    aims = unit(rng.standard_normal((2 * num_videos, SIGNAL_DIM)))
    likeness = rng.normal(0.55, 0.13, (num_videos, 1))
    other = unit(rng.standard_normal((num_videos, SIGNAL_DIM)))
    shown = unit(likeness * aims[:num_videos] + np.sqrt(np.maximum(0.1, 1 - likeness**2)) * other)
    frames = unit(shown[:, None] + 0.25 * unit(rng.standard_normal((num_videos, NUM_FRAMES, SIGNAL_DIM))))
    in_other_words = unit(aims + 0.5 * unit(rng.standard_normal(aims.shape)))
    popular = rng.normal(0, 0.01, (num_videos, 1, 1))  # what draws all texts a little
    texts, captions = (
        whole(
            np.full((len(wanted), 1), 0.45),
            np.full((len(wanted), 1), 0.3),
            0.4 * wanted,
            np.zeros((len(wanted), PRIVATE_DIM)),
            rest=rng.standard_normal((len(wanted), PRIVATE_DIM)),
        )
        for wanted in (aims[:num_videos], in_other_words)
    )
    of_frames = (num_videos, NUM_FRAMES, 1)
    pictures = whole(
        np.full(of_frames, model.offset / 0.45),
        np.broadcast_to(popular / 0.3, of_frames),
        0.4 * frames,
        rest=rng.standard_normal((num_videos, NUM_FRAMES, PRIVATE_DIM)),
    )
    padding = np.zeros((num_videos, NUM_FRAMES, PRIVATE_DIM), np.float32)
    return texts, np.concatenate([pictures, padding], axis=2), captions


def whole(*parts: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """float32 rows of length 1: the parts as they are, and as much of the rest as is missing."""
    told = np.concatenate(parts, axis=-1)
    missing = np.sqrt(1 - np.square(told).sum(axis=-1, keepdims=True))
    return np.concatenate([told, missing * unit(rest)], axis=-1).astype(np.float32)


def write_store(path: Path, model: Model, videos: np.ndarray, captions: np.ndarray) -> None:
    """A store of the frames, with a bank of the captions."""
    dim = videos.shape[-1]
    backbone = BackboneInfo(
        name=model.name,
        sha256=SHA256,
        dim=dim,
        input_size=224,
        logit_scale=model.logit_scale,
        logit_bias=model.logit_bias,
    )
    create_config(path, StoreConfig(backbone=backbone, sampling={"num_frames": NUM_FRAMES}, preprocessing={}))
    writer = StoreWriter(path, backbone_sha256=SHA256)
    for number, features in enumerate(videos):
        record = VideoRecord(
            video_id=f"{number:05d}",
            path=f"/videos/{number:05d}.mp4",
            num_bytes=1000,
            mtime_ns=0,
            fingerprint=f"{number:032x}",
            duration_seconds=float(NUM_FRAMES),
            width=320,
            height=240,
            codec="h264",
            extracted_at=0.0,
        )
        writer.add(record, features, np.arange(NUM_FRAMES) + 0.5)
    writer.flush()
    streams = np.repeat(captions.astype(np.float16)[:, None], len(STREAMS), axis=1)
    rows = TextRows(streams, np.ones(streams.shape[:2], bool))
    texts = [f"caption {number}" for number in range(len(captions))]
    write_text_file(path / BANK_NAME, texts, rows, streams=STREAMS, tagger_id="none", backbone_sha256=SHA256)


def auc(right: np.ndarray, wrong: np.ndarray) -> float:
    """How often a right pair lies above a wrong one, in per cent."""
    return 100 * float(np.searchsorted(np.sort(wrong), right).mean()) / len(wrong)


def measured(model: Model, folder: Path, *, num_videos: int) -> list[str]:
    """One row of the table."""
    texts, videos, captions = made_vectors(model, num_videos)
    write_store(folder, model, videos, captions)
    searcher = Searcher(folder, device="cpu")
    judged = range(0, num_videos, max(1, num_videos // NUM_JUDGED))  # of these all pairs are looked at
    relevance, scores = np.zeros((2, num_videos, num_videos))
    hits_at_1 = dict.fromkeys(METHODS, 0)
    for number in range(num_videos):
        vectors = QueryVectors(texts[number], texts[number])
        for method in METHODS:
            top_k = num_videos if method is None and number in judged else 1
            options = SearchSettings(top_k=top_k, method=method, missing=True)
            hits = searcher.search(Query(text=f"text {number}"), options, vectors=vectors).hits
            hits_at_1[method] += int(hits[0].video_id) == number
            if method is None:
                for hit in hits:
                    scores[number, int(hit.video_id)] = hit.score
                    relevance[number, int(hit.video_id)] = hit.relevance or 0.0
    relevance, scores, is_right = relevance[judged], scores[judged], np.eye(num_videos, dtype=bool)[judged]
    right, wrong = relevance[is_right], relevance[~is_right]
    spans = [
        "{:.2f} to {:.2f}".format(*np.percentile(scores[chosen], [1, 99])) for chosen in (~is_right, is_right)
    ]
    return [
        model.name,
        *spans,
        f"{auc(right, wrong):.2f}",
        f"{100 * (wrong >= LEAST).mean():.2f}",
        f"{100 * (right >= LEAST).mean():.1f}",
        *(f"{100 * hits_at_1[method] / num_videos:.1f}" for method in METHODS),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num-videos", type=int, default=400)
    num_videos = parser.parse_args().num_videos
    headings = ["", "unrelated pairs", "right pairs", "AUC", "unrelated at 3, %", "right at 3, %"]
    headings += [f"R@1 {method or 'plain'}" for method in METHODS]
    print(f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}")
    for model in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            print(f"| {' | '.join(measured(model, Path(folder) / 'store', num_videos=num_videos))} |")


if __name__ == "__main__":
    main()
