"""From videos to a trained run: features read from the store, beside frames decoded and encoded in every epoch."""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import vtrcli as vtr
from suite.measure import Row, Timed, timed, together
from vtrcli.demo.corpus import write_corpus
from vtrcli.training.record import TrainResult

NUM_FRAMES = 12


def rows(options: Namespace) -> Iterator[Row]:
    """The peer's epochs are decoded and encoded for real, by vtr's own pipeline, which favours the peer. Features are
    the same in every epoch, so the training between is the same run, and timed once per round for both."""
    folder, epochs = options.work / f"demo-{options.demo_videos}", options.demo_epochs
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        write_corpus(folder, num_videos=options.demo_videos, num_workers=os.cpu_count() or 1)
        (folder / "complete").touch()
    extracted = Timed("extract once")
    again = Timed(f"extract {epochs - 1:,} times more")
    trained = Timed(f"train {epochs:,} epochs")
    found = []
    make_features(folder, 1, options.work / "demo-again")  # files and model are in memory
    for _ in range(min(2, options.rounds)):
        timed(lambda: make_features(folder, 1, folder / "store"), extracted)
        timed(lambda: make_features(folder, epochs - 1, options.work / "demo-again"), again)
        require_same(folder / "store", options.work / "demo-again")
        found.append(timed(lambda: train(folder, options.work / "demo-run", epochs), trained))
    recalls = {round(run.val["t2v"]["R@1"], 1) for run in found}
    yield Row(
        f"extract and train CAMoE on {options.demo_videos} clips of `vtr demo`, {epochs} epochs",
        together("vtr extract, vtr train", [extracted, trained]),
        [together("decoded and encoded in every epoch (CLIP4Clip, frozen)", [extracted, again, trained])],
        trained,
        parts=[extracted, trained],
        notes=[
            f"validation R@1 {' and '.join(map(str, sorted(recalls)))} either way, from the same features",
            "the peer decodes and encodes as vtr does, with the demo's tiny backbone; the larger it is, the nearer "
            "the ratio comes to the number of epochs",
        ],
    )


def make_features(folder: Path, times: int, store: Path) -> None:
    """All clips into a new store, so many times."""
    for _ in range(times):
        shutil.rmtree(store, ignore_errors=True)
        done = vtr.extract(folder / "videos", store, backbone="demo", frames=NUM_FRAMES, device="cpu")
        assert not done.failures, done.failures[:1]


def require_same(one: Path, other: Path) -> None:
    """The features of two stores, bit for bit."""
    stores = [vtr.FeatureStore(path) for path in (one, other)]
    assert stores[0].paths.keys() == stores[1].paths.keys()
    for name in stores[0].paths:
        assert np.array_equal(stores[0].features(name), stores[1].features(name)), name


def train(folder: Path, run: Path, epochs: int) -> TrainResult:
    """A new run on the features; captions are encoded too."""
    shutil.rmtree(run, ignore_errors=True)
    return vtr.train(
        folder / "store",
        dataset="csv",
        annotations=folder,
        out=run,
        recipe="demo",
        epochs=epochs,
        device="cpu",
    )
