"""What the definitions behind `vtr eval` do, by simulation: ranks over videos or captions, intervals, p-values.

    python benchmarks/statistics_of_ranks.py [--repetitions 500] [--json]

A world of made-up models with the structure of a data set: so many videos, with so many captions each. A video is a
random direction, a caption its video plus noise, a part of which all captions of the video share (some videos are
hard to describe, and then in all their captions). The noise is set so that MSVD's structure has about the R@1 that
models reach there. What it can show: how ranks, intervals and tests behave under that structure, with a truth that is
known. What it cannot: how large a real model's numbers are.

The truth of an interval is the mean of R@1 over many worlds of the same kind; an interval of one world should hold it
in 95 % of the worlds. For p-values two models of equal quality rank the same captions of the same videos: p should be
at or below x in the share x of the worlds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vtrcli.ranking.evaluate import Evaluation, evaluate
from vtrcli.ranking.metrics import DirectionMetrics, compare, means_ci95, recall_hits
from vtrcli.ranking.truth import Truth

DIM = 16


@dataclass(frozen=True, kw_only=True)
class World:
    """The structure of a data set. `shared` and `own`: lengths of a caption's noise, of which the video's captions
    share the first; `models`: what each of two models adds of its own, per video and per caption."""

    name: str
    num_videos: int
    captions: tuple[int, int]  # at least, at most
    shared: float = 0.7
    own: float = 0.5
    models: float = 0.35

    def truth(self, generator: np.random.Generator) -> Truth:
        """A new draw of how many captions each video has."""
        sizes = generator.integers(self.captions[0], self.captions[1] + 1, size=self.num_videos)
        return Truth.from_videos(np.repeat(np.arange(self.num_videos), sizes), num_videos=self.num_videos)

    def scores(self, generator: np.random.Generator, truth: Truth, num_models: int) -> list[np.ndarray]:
        """float32 [num_texts, num_videos] of so many equally good models on the same videos and captions."""
        of_text = truth.video_index
        videos = self._noise(generator, self.num_videos, 1.0)
        texts = videos[of_text] + self._noise(generator, self.num_videos, self.shared)[of_text]
        texts += self._noise(generator, len(of_text), self.own)
        found = []
        for _ in range(num_models):
            seen = texts + self._noise(generator, self.num_videos, self.models)[of_text]
            seen += self._noise(generator, len(of_text), self.models)
            seen /= np.linalg.norm(seen, axis=1, keepdims=True)
            rows = videos / np.linalg.norm(videos, axis=1, keepdims=True)
            found.append((seen @ rows.T).astype(np.float32))
        return found

    def _noise(self, generator: np.random.Generator, rows: int, length: float) -> np.ndarray:
        return length * generator.standard_normal((rows, DIM), np.float32)


WORLDS = (
    World(name="one caption per video (1k-A)", num_videos=1000, captions=(1, 1)),
    World(name="MSR-VTT full's 20 captions", num_videos=200, captions=(20, 20)),
    World(name="MSVD's 41 captions", num_videos=200, captions=(22, 60)),
    World(name="20 videos of 41 captions", num_videos=20, captions=(22, 60)),
)
MSVD = World(name="MSVD", num_videos=670, captions=(22, 60))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=500, help="worlds per structure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    both = over_videos_and_captions(seed=options.seed)
    rows = [trust(world, options.repetitions, seed=options.seed) for world in WORLDS]
    if options.json:
        print(json.dumps({"v2t": both, "trust": rows}))
        return
    print(
        f"v2t of one model on MSVD's structure ({both['num_texts']:,} captions of {both['num_videos']} videos)"
    )
    for over in ("videos", "captions"):
        numbers = both[over]
        recalls = " / ".join(f"{numbers[f'R@{k}']:.1f}" for k in (1, 5, 10))
        print(f"  over {over:9} {recalls}, MnR {numbers['MnR']:.2f}")
    print()
    print(
        f"t2v R@1, {options.repetitions} worlds each: 95 % intervals that hold the truth; p <= .05, .2, .5 of equals"
    )
    for row in rows:
        print(f"  {row['world']:30} R@1 {row['R@1']:.1f}")
        for unit in ("videos", "captions"):
            p = ", ".join(f"{share:.1f} %" for share in row[unit]["p"])
            print(f"    resampling {unit:9} covers {row[unit]['covered']:5.1f} %   p: {p}")


def over_videos_and_captions(*, seed: int) -> dict[str, Any]:
    """The two ways to count v2t on one matrix with MSVD's structure."""
    generator = np.random.default_rng(seed)
    truth = MSVD.truth(generator)
    (scores,) = MSVD.scores(generator, truth, 1)
    found: dict[str, Any] = {"num_texts": truth.num_texts, "num_videos": truth.num_videos}
    for over in ("videos", "captions"):
        result = evaluate(scores, truth, v2t_over=over, num_bootstrap=0)  # type: ignore[arg-type]
        assert result.v2t is not None
        found[over] = result.v2t.to_json()
    return found


def trust(world: World, repetitions: int, *, seed: int) -> dict[str, Any]:
    """Coverage of intervals and distribution of p-values, resampling videos and (wrongly) captions."""
    generator = np.random.default_rng([seed, world.num_videos, *world.captions])
    intervals: dict[str, list[tuple[float, float]]] = {"videos": [], "captions": []}
    p_values: dict[str, list[float]] = {"videos": [], "captions": []}
    recalls: list[float] = []
    for repetition in range(repetitions):
        truth = world.truth(generator)
        pair = [
            evaluate(scores, truth, num_bootstrap=0, ties="optimistic")
            for scores in world.scores(generator, truth, 2)
        ]
        recalls += [one.t2v.recall[1] for one in pair]
        for unit in ("videos", "captions"):
            low_high, p = judge(pair, by_video=unit == "videos", seed=repetition)
            intervals[unit].append(low_high)
            p_values[unit].append(p)
    target = float(np.mean(recalls))
    row: dict[str, Any] = {"world": world.name, "R@1": target}
    for unit in ("videos", "captions"):
        covered = [low <= target <= high for low, high in intervals[unit]]
        row[unit] = {
            "covered": 100 * float(np.mean(covered)),
            "p": [100 * float(np.mean(np.array(p_values[unit]) <= level)) for level in (0.05, 0.2, 0.5)],
        }
    return row


def judge(pair: list[Evaluation], *, by_video: bool, seed: int) -> tuple[tuple[float, float], float]:
    """The interval of the first model's R@1, and the p-value of the second against the first."""
    first, second = (one.t2v for one in pair)
    hits = 100 * recall_hits(first.ranks, 1, num_tied=first.num_tied, ties="optimistic")
    clusters = first.clusters if by_video else np.arange(first.num_queries)
    ((low, high),) = means_ci95(hits[:, None], clusters=clusters, num_bootstrap=400, seed=seed)
    if not by_video:
        first, second = (_alone(one) for one in (first, second))
    test = compare(first, second, ties="optimistic", num_permutations=400, seed=seed)["R@1"]
    return (low, high), test.p_value


def _alone(metrics: DirectionMetrics) -> DirectionMetrics:
    return replace(metrics, clusters=np.arange(metrics.num_queries))


if __name__ == "__main__":
    main()
