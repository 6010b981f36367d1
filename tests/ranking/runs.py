"""Runs and qrels for tests, as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def write_qrels(path: Path, truth: dict[str, dict[str, int]], *, newline: str = "\n") -> Path:
    lines = [f"{query} 0 {item} {grade}" for query, items in truth.items() for item, grade in items.items()]
    path.write_bytes("".join(line + newline for line in lines).encode())
    return path


def write_trec(path: Path, run: dict[str, dict[str, float]], *, newline: str = "\n") -> Path:
    lines = [
        f"{query} Q0 {item} {rank} {score} made"
        for query, items in run.items()
        for rank, (item, score) in enumerate(sorted(items.items(), key=lambda one: -one[1]), start=1)
    ]
    path.write_bytes("".join(line + newline for line in lines).encode())
    return path


def run_of(matrix: np.ndarray, *, top: int | None = None) -> dict[str, dict[str, float]]:
    """The best `top` of each row; scores as the shortest decimals that give them back."""
    run = {}
    for number, row in enumerate(matrix):
        best = np.argsort(-row, kind="stable")[:top]
        run[f"q{number}"] = {f"v{item}": float(str(row[item])) for item in best.tolist()}
    return run


def diagonal(size: int) -> dict[str, dict[str, int]]:
    return {f"q{number}": {f"v{number}": 1} for number in range(size)}


def write_beir(folder: Path, truth: dict[str, dict[str, int]], *, corpus: list[str] | None = None) -> Path:
    """A folder whose texts are `text of q0` ...; the corpus: what the qrels name, and more if wanted."""
    (folder / "qrels").mkdir(parents=True)
    items = corpus or list(dict.fromkeys(item for one in truth.values() for item in one))
    rows = {
        "corpus": [{"_id": item, "title": "", "text": ""} for item in items],
        "queries": [{"_id": query, "text": f"text of {query}"} for query in truth],
    }
    for name, entries in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    lines = [f"{query}\t{item}\t{grade}\n" for query, one in truth.items() for item, grade in one.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder
