"""A query as a new process, and the scan inside it: beside rclip's ranking, and rclip itself."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from extract import make_weights
from search_command import search
from synthetic import DIM, write_store

from suite.measure import Row, Way, take_turns
from vtrcli.model.clip.model import load_clip
from vtrcli.model.families import backbone_info
from vtrcli.searching.scores import products
from vtrcli.store.catalog_file import open_catalog

# Rows as rclip 3.3 keeps them.
TABLE = """
pragma journal_mode = off;
pragma synchronous = off;
create table images (id integer primary key, deleted boolean, filepath text not null unique,
    modified_at datetime not null, size integer not null, vector blob not null, indexing boolean, hash text);
"""
REST = """
create unique index existing_images on images(filepath) where deleted is null;
create index hash_index on images(hash) where deleted is null;
create table db_version (version integer);
insert into db_version values (4);
"""
# What rclip does with them once it has the query's vector: rows by the folder's name, all into one matrix, one product,
# a full sort in Python. Without its model, so it costs less than rclip.
RANK = """
import sqlite3, sys
import numpy as np
connection = sqlite3.connect(sys.argv[1])
connection.row_factory = sqlite3.Row
names, vectors = [], []
for row in connection.execute(
    "select filepath, vector from images where filepath like ? escape '\\\\' and deleted is null", (sys.argv[3] + "/%",)
):
    names.append(row["filepath"])
    vectors.append(np.frombuffer(row["vector"], np.float32))
scores = (np.load(sys.argv[2]) @ np.stack(vectors).T).tolist()
best = sorted(zip(scores, range(len(scores))), key=lambda pair: pair[0], reverse=True)
print(*(names[place] for _, place in best[:10]), sep="\\n")
"""
MODEL_FOLDER = "ViT-B-32-256-datacomp_s34b_b86k"  # where rclip 3 looks for its model


def rows(options: Namespace) -> Iterator[Row]:
    """Videos of twelve frames, and of one: as many rows then as rclip has pictures."""
    weights = make_weights(options.work / "vit-b-32.safetensors")
    for number, num_frames in options.videos:
        yield from rows_of(options, weights, number, num_frames)


def rows_of(options: Namespace, weights: Path, number: int, num_frames: int) -> Iterator[Row]:
    work = options.work
    store, folder = work / f"store-{number}x{num_frames}", work / f"rclip-{number}x{num_frames}"
    write_store(
        store, backbone_info(str(weights)), num_videos=number, num_frames=num_frames, num_distinct=8192
    )
    write_database(folder / "db.sqlite3", store, pictures=folder / "pictures")
    query = np.ones(DIM, np.float32) / DIM**0.5
    np.save(work / "query.npy", query)
    rank = [
        sys.executable,
        "-c",
        RANK,
        str(folder / "db.sqlite3"),
        str(work / "query.npy"),
        str(folder / "pictures"),
    ]
    ways = {
        "new": process(search(store, "a man cooking {}")),
        "repeated": process(search(store, "a man cooking")),
        "rank": process(rank),
        "python": process([sys.executable, "-c", "import numpy"]),
    }
    left_out = {}
    if options.rclip is None or not options.rclip.exists():
        left_out["rclip itself"] = "--rclip names no command"
    elif find_spec("onnx") is None:
        left_out["rclip itself"] = 'onnx, to write its model, is not installed (pip install ".[bench]")'
    else:
        give_model(folder, work / "textual.onnx", weights)
        command = [
            str(options.rclip.absolute()),
            "--no-indexing",
            "--filepath-only",
            "--top",
            "10",
            "a man cooking {}",
        ]
        ways["rclip"] = process(command, cwd=folder / "pictures", RCLIP_DATADIR=str(folder))
    for name in ("new", "repeated", "python"):
        ways[name]()  # the files are in memory, the catalogue is made, and the question was asked before
    found = take_turns(ways, rounds=options.rounds)
    for timed, name in {
        "new": "vtr search",
        "repeated": "vtr search",
        "rank": "rclip's ranking, re-created, no model",
        "rclip": "rclip 3 itself, the same text tower by ONNX Runtime",
        "python": "Python that imports NumPy",
    }.items():
        if timed in found:
            found[timed].name = name
    about = f"{number:,} videos, {number * num_frames:,} frames"
    peers = [found[name] for name in ("rclip", "rank") if name in found]
    for what, key in (("never asked before", "new"), ("asked before", "repeated")):
        yield Row(
            f"a query {what}, a new process, {about}", found[key], peers, found["python"], left_out=left_out
        )
    yield scan_row(store, query, about, options.rounds)


def scan_row(store: Path, query: np.ndarray, about: str, num_rounds: int) -> Row:
    """Inside one process, everything in memory."""
    catalog, num_cores = open_catalog(store), os.cpu_count() or 1
    matrix = np.concatenate([np.asarray(block) for block in catalog.blocks]).astype(np.float32)
    strips = [strip for block in catalog.blocks for strip in np.array_split(np.asarray(block), num_cores)]
    assert np.allclose(products(catalog.blocks, query), matrix @ query, atol=5e-3), "the products differ"
    with ThreadPoolExecutor(num_cores) as pool:
        found = take_turns(
            {
                "vtr's scan": lambda: products(catalog.blocks, query),
                "the matrix in float32 by NumPy": lambda: matrix @ query,
                "the same, sorted": lambda: np.argsort(-(matrix @ query))[:10],
                "reading the features once, all cores": lambda: list(pool.map(read, strips)),
            },
            rounds=1 + 2 * num_rounds,
        )
    ours, *peers, limit = found.values()
    return Row(f"the scan inside a query, warm, {about}", ours, peers, limit)


def read(rows: np.ndarray) -> int:
    """All bytes of float16 [num_rows, dim], as fast as NumPy goes over them."""
    return int(np.bitwise_or.reduce(rows.view(np.uint64), axis=None)) if len(rows) else 0


def process(command: list[str], *, cwd: Path | None = None, **variables: str) -> Way:
    """A new one each time; a {} becomes something new."""

    def run() -> None:
        words = [word.replace("{}", str(time.time_ns())) for word in command]
        done = subprocess.run(words, cwd=cwd, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{words[:4]} ended with {done.returncode}: {done.stderr[-500:]}"

    return run


def write_database(path: Path, store: Path, *, pictures: Path) -> None:
    """The store's rows as float32 of length 1, as rclip keeps pictures; made once."""
    pictures.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    connection = sqlite3.connect(temporary)
    connection.executescript(TABLE)
    with connection:
        for shard, block in enumerate(open_catalog(store).blocks):
            values = np.asarray(block, np.float32)
            values /= np.linalg.norm(values, axis=1, keepdims=True)
            connection.executemany(
                "insert into images (filepath, modified_at, size, vector) values (?, 0, 1, ?)",
                (
                    (f"{pictures}/{shard:03d}/{row:07d}.jpg", vector.tobytes())
                    for row, vector in enumerate(values)
                ),
            )
    connection.executescript(REST)
    connection.close()
    temporary.rename(path)


def give_model(folder: Path, kept: Path, weights: Path) -> None:
    """The same text tower in ONNX, and the tokenizer's words, where rclip looks for its own; made once."""
    if not kept.exists():
        write_onnx(kept, weights)
    model = folder / MODEL_FOLDER / "textual.onnx"
    model.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kept, model)
    (model.parent / "visual.onnx").touch()  # which a text query does not open
    (folder / "tokenizer").mkdir(exist_ok=True)
    words, package = "bpe_simple_vocab_16e6.txt.gz", find_spec("clip")
    assert package is not None and package.origin is not None
    shutil.copyfile(Path(package.origin).with_name(words), folder / "tokenizer" / words)


def write_onnx(path: Path, weights: Path) -> None:
    """The text tower, any number of texts at a time."""
    temporary = path.with_suffix(".tmp")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(
            TextTower(weights),
            (torch.zeros(1, 77, dtype=torch.int64),),
            str(temporary),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    temporary.rename(path)


class TextTower(torch.nn.Module):
    """int64 [batch, 77] -> float32 [batch, dim]."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.model = load_clip(weights, device="cpu", dtype=torch.float32).eval()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.model.encode_text(tokens)  # type: ignore[no-any-return]
