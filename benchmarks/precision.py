"""What half precision brings and costs, per family of backbones: speed and features against float32.

    python benchmarks/precision.py [NAME ...] [--device auto] [--precision bfloat16] [--videos FILE ...] [--rounds 5]

Models that are not here get random weights of the real architecture. Speed does not depend on them; how much is lost
does, so that figures with them say what the arithmetic of a tower costs and not what a trained one loses: look at
`vtr models check NAME` for that. Both precisions take turns in one run, on the same frames; the median of the rounds
counts, in the processor's own time on a CPU (other programs then matter less). `of the spread` is the length of the
error over the mean distance of a feature from the mean of all: it stays honest where all features point the same way.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vtrcli.errors import VtrError
from vtrcli.model.backbone import Backbone, Precision, Towers, choose_device
from vtrcli.model.bench import SHORT_LIST
from vtrcli.model.families import family_of, load_backbone
from vtrcli.model.models import list_models
from vtrcli.preprocessing import Preprocessing
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Uniform

NUM_FRAMES = 16
CAPTIONS = [
    "a man is cooking eggs in a large kitchen",
    "two dogs run along a beach at sunset",
    "someone plays the guitar on a stage",
    "a woman shows how to fold a paper plane",
    "cars race on a wet track in the rain",
    "a cartoon fish talks to a crab",
    "the president speaks at a conference",
    "a boy kicks a ball over a fence",
]


def main() -> None:
    """Print one line per model and tower."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["demo", *SHORT_LIST])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("bfloat16", "float16"))
    parser.add_argument("--videos", nargs="*", type=Path, default=[])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device = choose_device(options.device)
    half: Precision = options.precision or ("float16" if device.startswith("cuda") else "bfloat16")
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, {half} against float32")
    print(
        f"{'model':20} {'tower':6} {'float32':>15} {half:>15} {'ratio':>6} {'cosine':>9} {'of the spread':>14}"
    )
    here = {entry.name for entry in list_models() if entry.state != "absent"}
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                known = name in here or Path(name).exists()
                weights = name if known else str(family_of(name).write_random(name, Path(folder) / "random"))
                measure(name if known else f"{name}, random", weights, options, device=device, half=half)
            except VtrError as error:
                print(f"{name}: {error}")


def measure(label: str, weights: str, options: argparse.Namespace, *, device: str, half: Precision) -> None:
    """Both towers of one model."""
    precisions: tuple[Precision, Precision] = ("float32", half)
    towers: tuple[Towers, Towers] = ("image", "text")
    for tower in towers:
        backbones = [
            load_backbone(weights, device=device, precision=each, towers=tower) for each in precisions
        ]
        runs: list[Callable[[], np.ndarray]]
        if tower == "image":
            frames = pictures(options.videos, backbones[0].preprocessing)
            runs = [partial(backbone.encode_images, frames) for backbone in backbones]
            count, unit = len(frames), "frames"
        else:
            runs = [partial(one_by_one, backbone) for backbone in backbones]
            count, unit = len(CAPTIONS), "texts"
        try:
            seconds, (plain, rounded) = alternate(runs, options.rounds, on_cpu=device == "cpu")
        except VtrError as error:
            print(f"{label:20} {tower:6} {error}")
            continue
        cosine, spread = differences(plain, rounded)
        rates = [f"{count / each:.1f} {unit}/s" for each in seconds]
        print(
            f"{label:20} {tower:6} {rates[0]:>15} {rates[1]:>15} {seconds[0] / seconds[1]:6.2f} {cosine:9.6f}"
            f" {spread:14.4f}",
            flush=True,
        )


def one_by_one(backbone: Backbone) -> np.ndarray:
    """As queries come."""
    return np.concatenate([backbone.encode_texts([text]).features for text in CAPTIONS])


def pictures(videos: list[Path], preprocessing: Preprocessing) -> np.ndarray:
    """uint8 [NUM_FRAMES, height, width, 3]: of the videos, or blurred noise."""
    if videos:
        each = -(-NUM_FRAMES // len(videos))
        found = []
        for path in videos:
            with open_video(path, Uniform(num_frames=each), size=preprocessing) as reader:
                found += [batch.pixels.copy() for batch in reader]
        return np.concatenate(found)[:NUM_FRAMES]
    height, width, _ = preprocessing.shape
    coarse = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(-(-height // 8), axis=1).repeat(-(-width // 8), axis=2)[:, :height, :width]


def alternate(
    runs: list[Callable[[], np.ndarray]], rounds: int, *, on_cpu: bool
) -> tuple[list[float], list[np.ndarray]]:
    """Median seconds of each run and what it gave; they take turns, after one round that does not count."""
    clock = time.process_time if on_cpu else time.perf_counter
    results = [run() for run in runs]
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for number, run in enumerate(runs):
            started = clock()
            run()
            seconds[number].append(clock() - started)
    threads = torch.get_num_threads() if on_cpu else 1
    return [statistics.median(each) / threads for each in seconds], results


def differences(plain: np.ndarray, rounded: np.ndarray) -> tuple[float, float]:
    """The lowest cosine, and the largest error over the mean distance of the rows from their mean."""
    plain, rounded = plain.astype(np.float64), rounded.astype(np.float64)
    lengths = np.linalg.norm(plain, axis=1) * np.linalg.norm(rounded, axis=1)
    spread = np.linalg.norm(plain - plain.mean(axis=0), axis=1).mean()
    errors = np.linalg.norm(plain - rounded, axis=1)
    return float(((plain * rounded).sum(axis=1) / lengths).min()), float(errors.max() / spread)


if __name__ == "__main__":
    main()
