"""R@1 of `search`, asked query by query, against `eval` on the same split: plain and corrected, zero-shot and trained.

    vtr demo --out DIR; python benchmarks/search_accuracy.py DIR

The store holds all clips of the demo; the gallery is narrowed to the test clips by path filters. For the corrected rows
the training captions are the bank, in `eval` by --bank train, in `search` by `vtr bank build`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from vtrcli.datasets.registry import load_split
from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationSettings, evaluate_inputs
from vtrcli.evaluation.inputs import from_store
from vtrcli.ranking.evaluate import Evaluation
from vtrcli.searching.filters import Filters
from vtrcli.searching.query import Query, SearchMethod, SearchSettings
from vtrcli.searching.searcher import Searcher
from vtrcli.text.cache import build_bank

DATASET = "csv"
METHODS: tuple[SearchMethod | None, ...] = (None, "dsl", "inverted-softmax", "csls")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path)
    folder: Path = parser.parse_args().demo
    with tempfile.TemporaryDirectory() as name:
        store = Path(shutil.copytree(folder / "store", Path(name) / "store"))
        texts = [caption.text for caption in load_split(DATASET, folder, "train").captions]
        build_bank(store, texts, device="cpu")
        print("R@1, t2v                          eval    search")
        for run in (None, folder / "runs" / "demo"):
            compare(store, folder, run)


def compare(store: Path, folder: Path, run: Path | None) -> None:
    """One row per method."""
    inputs = from_store(
        store, run=run, dataset=DATASET, annotations=folder, split="test", device="cpu", use_train_bank=True
    )
    named = tuple(method for method in METHODS if method is not None)
    result = evaluate_inputs(inputs, EvaluationSettings(methods=named, num_bootstrap=0))
    evaluated: dict[str | None, Evaluation] = {None: result.evaluations[0]}
    evaluated |= {each.method: each for each in result.evaluations[1:] if not each.transductive}
    searcher = Searcher(store, run=run, pooling="mean", device="cpu")
    gallery = Filters(paths=tuple(f"{video_id}.mp4" for video_id in inputs.video_ids))
    for method in METHODS:
        t2v = evaluated[method].t2v
        assert t2v is not None
        found = recall(searcher, inputs.texts, right_videos(inputs), gallery, method)
        name = f"{'zero-shot' if run is None else 'run'}, {method or 'plain'}"
        print(f"{name:32} {t2v.recall[1]:6.2f}   {found:6.2f}")


def right_videos(inputs: EvaluationInputs) -> list[str]:
    """The right video of each text of a split with one video per text."""
    truth, video_ids = inputs.truth, inputs.video_ids
    order = truth.text_index.argsort(kind="stable")
    return [video_ids[video] for video in truth.video_index[order].tolist()]


def recall(
    searcher: Searcher,
    texts: tuple[str, ...],
    right: list[str],
    gallery: Filters,
    method: SearchMethod | None,
) -> float:
    """Per cent of the texts whose right video is the first hit."""
    options = SearchSettings(top_k=1, filters=gallery, method=method)
    hits = [searcher.search(Query(text=text), options).hits[0].video_id for text in texts]
    return 100 * sum(hit == video for hit, video in zip(hits, right, strict=True)) / len(texts)


if __name__ == "__main__":
    main()
