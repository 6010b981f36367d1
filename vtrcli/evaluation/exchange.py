"""What other evaluators read: runs and qrels for TREC's tools and ranx, and mteb's `TaskResult`."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from vtrcli.datasets.qrels import plain_suffix
from vtrcli.errors import InputError, UsageError
from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationResult
from vtrcli.files import make_folder, replacing, write_whole
from vtrcli.ranking.gains import Metric
from vtrcli.ranking.metrics import Direction

RUN_SUFFIXES = (".trec", ".txt", ".run", ".json")
QRELS_SUFFIXES = (".trec", ".txt", ".qrels", ".tsv", ".json")
_TAG = "vtr"
_ROW_ITEMS = 1 << 22
_MTEB_KS = (1, 3, 5, 10, 20, 100, 1000)
# mteb's names of our metrics; its main score is nDCG@10.
_MTEB_NAMES = {
    "nDCG": "ndcg",
    "AP": "map",
    "Recall": "recall",
    "P": "precision",
    "RR": "mrr",
    "Success": "hit_rate",
}
MTEB_METRICS = tuple(f"{name}@{k}" for name in _MTEB_NAMES for k in _MTEB_KS)


def require_suffix(path: Path, *, option: str, known: tuple[str, ...]) -> None:
    """Raise UsageError before the work for a file whose format is not told by its name; `.gz` may follow."""
    if plain_suffix(path) not in known:
        raise UsageError(
            f"{option} {path}",
            allowed=f"a file that ends in {', '.join(known)}, and if wanted .gz: the ending is the format",
            to_do=f"write {option} {path.with_suffix(known[0])}",
        )


def write_run(inputs: EvaluationInputs, path: Path, *, top: int | None = None) -> None:
    """The plain scores as a run: each text's videos, best first; equal scores in the order of the videos. `.json` is
    ranx's, anything else TREC's, `.gz` packs. Scores are the shortest decimals that give them back, bit for bit.

    Args:
        top: the first so many; None: all that have a score.

    Raises:
        InputError: an id with a blank, which TREC's columns cannot hold.
        StoreError: the file cannot be written.
    """
    texts, videos = names(inputs)
    is_json = plain_suffix(path) == ".json"
    if not is_json:
        _require_words((*texts, *videos), path)
    with replacing(path) as temporary, _opened(temporary, packed=path.suffix.lower() == ".gz") as file:
        for number, (text, found, scores) in enumerate(_ranked(inputs, texts, top)):
            named = zip((videos[video] for video in found), scores, strict=True)
            if is_json:
                row = ", ".join(f"{json.dumps(video)}: {score}" for video, score in named)
                file.write(f"{',' if number else '{'}\n{json.dumps(text)}: {{{row}}}".encode())
            else:
                lines = (
                    f"{text} Q0 {video} {rank} {score} {_TAG}\n"
                    for rank, (video, score) in enumerate(named, 1)
                )
                file.write("".join(lines).encode())
        if is_json:
            file.write(b"\n}\n")


def write_qrels(inputs: EvaluationInputs, path: Path) -> None:
    """The truth, in the layout of the suffix: TREC's, BEIR's `.tsv`, ranx's `.json`. Raises as `write_run`."""
    texts, videos = names(inputs)
    truth = inputs.truth
    grades = np.ones(len(truth.text_index), np.int64) if truth.grades is None else truth.grades
    rows = list(zip(truth.text_index.tolist(), truth.video_index.tolist(), grades.tolist(), strict=True))
    suffix = plain_suffix(path)
    if suffix == ".json":
        tables: dict[str, dict[str, int]] = {}
        for text, video, grade in rows:
            tables.setdefault(texts[text], {})[videos[video]] = grade
        content = json.dumps(tables, indent=0)
    elif suffix == ".tsv":
        content = "query-id\tcorpus-id\tscore\n" + "".join(
            f"{texts[text]}\t{videos[video]}\t{grade}\n" for text, video, grade in rows
        )
    else:
        _require_words((*texts, *videos), path)
        content = "".join(f"{texts[text]} 0 {videos[video]} {grade}\n" for text, video, grade in rows)
    with replacing(path) as temporary, _opened(temporary, packed=path.suffix.lower() == ".gz") as file:
        file.write(content.encode())


def names(inputs: EvaluationInputs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the texts and the videos; `q0` and `v0` ... where they are not known."""
    num_texts, num_videos = inputs.source.shape
    texts = inputs.caption_ids or tuple(f"q{number}" for number in range(num_texts))
    return texts, inputs.video_ids or tuple(f"v{number}" for number in range(num_videos))


def _opened(path: Path, *, packed: bool) -> IO[bytes]:
    return gzip.open(path, "xb") if packed else open(path, "xb")  # type: ignore[return-value]


def _require_words(ids: Iterable[str], path: Path) -> None:
    for name in ids:
        if not name or name.split() != [name]:
            raise InputError(
                f"{path}: the id {name!r} holds a blank",
                allowed="blanks separate the columns of TREC's files",
                to_do=f"write {path.with_suffix('.json')}, which holds any id",
            )


def _ranked(
    inputs: EvaluationInputs, texts: tuple[str, ...], top: int | None
) -> Iterator[tuple[str, list[int], list[str]]]:
    """Per text: its videos, best first, and their scores as text. -inf is padding, or not listed, and left out."""
    num_texts, num_videos = inputs.source.shape
    at_once = max(1, _ROW_ITEMS // num_videos)
    for start in range(0, num_texts, at_once):
        stop = min(start + at_once, num_texts)
        block = inputs.source.block(slice(start, stop), slice(0, num_videos))
        for text, row in zip(texts[start:stop], block, strict=True):
            found = np.argsort(-row, kind="stable")[:top]
            found = found[np.isfinite(row[found])]
            yield text, found.tolist(), list(map(str, row[found]))


def write_mteb(result: EvaluationResult, folder: Path) -> list[Path]:
    """A `TaskResult` per direction, of the plain scores, named after what was evaluated and never after a task of
    mteb's: its MSR-VTT is another set of videos. `dataset_revision` is the protocol's fingerprint.

    Wants an evaluation with `MTEB_METRICS`. On scores without ties the numbers are mteb's; among equal scores mteb goes
    by the ids.

    Raises:
        StoreError: the folder or a file cannot be written.
    """
    make_folder(folder, allowed="a folder that can be written", to_do="choose another with --save-mteb")
    plain, inputs = result.evaluations[0], result.inputs
    directions: tuple[Direction, ...] = ("t2v", "v2t")
    written = []
    for metrics in filter(None, map(plain.of, directions)):
        scores: dict[str, Any] = {
            f"{_MTEB_NAMES[metric.name]}_at_{metric.k}": metrics.more[str(metric)]
            for metric in map(Metric.parse, MTEB_METRICS)
        }
        entry = {
            **scores,
            "main_score": scores["ndcg_at_10"],
            "hf_subset": "default",
            "languages": ["eng-Latn"],
        }
        name = re.sub(r"[^\w.-]+", "-", inputs.dataset or Path(inputs.model).stem).strip("-") or "scores"
        body = {
            "dataset_revision": result.protocol()["fingerprint"],
            "task_name": f"vtr-{name}-{metrics.direction}",
            "mteb_version": None,
            "scores": {inputs.split or "test": [entry]},
            "evaluation_time": None,
            "kg_co2_emissions": None,
        }
        path = folder / f"{body['task_name']}.json"
        write_whole(path, (json.dumps(body, indent=2) + "\n").encode())
        written.append(path)
    return written
