"""Chains of moments (`--then`): whether they tell the order of what is seen, and what they cost.

Half of the demo's clips come in pairs with the same frames in opposite orders. Each clip of a pair is asked for by what
its first and its last frame show ("a small red arrow at the far left of a grey floor"), as one who remembers it would.

    python benchmarks/chains.py                     # draws 2,400 clips first: about four minutes
    python benchmarks/chains.py --demo DIR --store STORE   # as benchmarks/moments.py keeps them
    python benchmarks/chains.py --speed             # a million made frames, no clips
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tools.demo_backbone.texts import frame_caption
from vtrcli.demo.corpus import plan_corpus, write_corpus
from vtrcli.extraction.extract import extract
from vtrcli.model.backbone import DEMO_NAME
from vtrcli.model.families import open_text_tower
from vtrcli.moments.chain import chain_scores
from vtrcli.searching.scores import products
from vtrcli.store.reader import FeatureStore, unit_rows
from vtrcli.video.sampling import Rate

NUM_CLIPS = 2400
CLIP_FPS = 4.0
NUM_FRAMES = 1_000_000
Score = Callable[[int], np.ndarray]  # number of a clip that is asked for -> scores of all


def order_table(demo: Path, store_path: Path) -> None:
    """How often the clip that is meant stands above the one with its frames in the opposite order, and above all."""
    sampling = Rate(fps=CLIP_FPS, min_frames=1)
    extract([demo / "videos"], store=store_path, backbone=DEMO_NAME, sampling=sampling, device="cpu")
    store, tower = FeatureStore(store_path), open_text_tower(FeatureStore(store_path), device="cpu")
    clips = [clip for clip in plan_corpus(num_videos=NUM_CLIPS) if clip.split != "train"]
    number_of = {clip.video_id: number for number, clip in enumerate(clips)}
    asked = [number for number, clip in enumerate(clips) if clip.order_pair is not None]
    pair_of = [number_of[clips[number].order_pair or ""] for number in asked]
    frames = [unit_rows(store.features(clip.video_id)) for clip in clips]
    stops = np.cumsum([len(rows) for rows in frames])
    starts, rows = stops - [len(part) for part in frames], np.concatenate(frames)
    means = unit_rows(np.add.reduceat(rows, starts, axis=0))

    def encoded(texts: list[str]) -> np.ndarray:
        return unit_rows(tower.encode_texts(texts).features)

    captions = encoded([clips[number].caption for number in asked])
    rng = random.Random(3)
    scenes = [clips[number].scene for number in asked]
    seen = [
        [frame_caption(scene, at, rng) for at in ((1.0, 0.0) if scene.backwards else (0.0, 1.0))]
        for scene in scenes
    ]
    first, last = encoded([pair[0] for pair in seen]), encoded([pair[1] for pair in seen])

    def best_frame(texts: np.ndarray) -> Score:
        return lambda n: np.maximum.reduceat(rows @ texts[n], starts)

    def chain(texts: list[np.ndarray], *, standard: bool) -> Score:
        def score(n: int) -> np.ndarray:
            scores = np.stack([rows @ part[n] for part in texts], axis=1)
            if standard:
                scores = (scores - scores.mean(axis=0)) / scores.std(axis=0)
            return chain_scores(scores, np.zeros(len(rows)), starts, stops)

        return score

    ways: dict[str, Score] = {
        "the clip's caption, best frame": best_frame(captions),
        "the clip's caption, mean of the frames": lambda n: means @ captions[n],
        "what comes first, best frame": best_frame(first),
        "both sentences added (--plus)": best_frame(unit_rows(first + last)),
        "chain, cosines added": chain([first, last], standard=False),
        "chain, standard scores added (as built)": chain([first, last], standard=True),
        "chain in the wrong order": chain([last, first], standard=True),
    }
    print(f"{len(asked)} clips of pairs among {len(clips)}; such as {' / '.join(seen[0])!r}\n")
    print("| asked by | order, per cent | R@1 | R@5 |\n|---|---|---|---|")
    for name, way in ways.items():
        wins, ranks = [], []
        for place, (number, pair) in enumerate(zip(asked, pair_of, strict=True)):
            scores = way(place)
            ahead = scores[number] - scores[pair]
            wins.append(0.5 if abs(ahead) < 1e-6 else float(ahead > 0))
            ranks.append(float((scores > scores[number] + 1e-6).sum()))
        recalls = [100 * float(np.mean(np.array(ranks) < bound)) for bound in (1, 5)]
        print(f"| {name} | {100 * np.mean(wins):.1f} | {recalls[0]:.1f} | {recalls[1]:.1f} |")


def speed_table(dim: int = 512, rounds: int = 5) -> None:
    """Seconds for a million frames: reading and multiplying them, and the chains, for two and three sentences."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(NUM_FRAMES, dim)).astype(np.float16)
    queries = unit_rows(rng.normal(size=(3, dim)))
    print(
        "| frames per video | sentences | within | products, s | chains, s | processor time of both |\n"
        + "|---" * 6
        + "|"
    )
    for length in (12, 100, 10_000):
        stops = np.arange(length, NUM_FRAMES + 1, length)
        times = (np.arange(NUM_FRAMES) % length * 2).astype(np.float32)
        for sentences, within in ((2, None), (2, 30.0), (3, 30.0)):
            found = []
            for _ in range(rounds):
                at, cpu = time.perf_counter(), time.process_time()
                scores = np.stack([products([features], query) for query in queries[:sentences]], axis=1)
                between = time.perf_counter()
                chain_scores(scores, times, stops - length, stops, within_seconds=within)
                found.append((between - at, time.perf_counter() - between, time.process_time() - cpu))
            multiply, chains, cpu = np.min(found, axis=0)
            limit = "any" if within is None else f"{within:g} s"
            print(f"| {length:,} | {sentences} | {limit} | {multiply:.2f} | {chains:.2f} | {cpu:.2f} |")


def main() -> None:
    """Make what is missing and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=Path, help="the clips of `vtr demo --num-videos 2400 --out DIR`")
    parser.add_argument("--store", type=Path, help="where to keep the clips' features")
    parser.add_argument("--speed", action="store_true", help="only how long a million frames take")
    options = parser.parse_args()
    if options.speed:
        speed_table()
        return
    with tempfile.TemporaryDirectory() as folder:
        demo = options.demo or Path(folder) / "demo"
        if options.demo is None:
            write_corpus(demo, num_videos=NUM_CLIPS)
        order_table(demo, options.store or Path(folder) / "store")


if __name__ == "__main__":
    main()
