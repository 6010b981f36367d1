"""Moments in long videos with known true spans: how to score a video, where a moment begins and ends, which to list.

Long videos are joined from demo clips: their frames' features (encoded one by one, so joining features equals joining
films) at known times, each clip playing forth and back one to four times. Captions are the queries. Constants were
chosen with the clips of the train split and are reported on those of val and test (the backbone saw neither). A caption
whose clip is in one video only is asked; clips of the other half fill the videos up.

Demo features tell clips apart far better than those of CLIP on films. "Noise" is like what was measured on the 355
frames of a real video of one shot (ViT-B/32): the features of frames differ the more the further they lie apart, and a
text sees little of a feature. Level 1: a matching scene's score stands 0.10 above the others', level 2: 0.05.

    python benchmarks/moments.py                     # draws 2,400 clips first: about four minutes
    python benchmarks/moments.py --demo DIR          # the clips of `vtr demo --num-videos 2400 --out DIR`
    python benchmarks/moments.py --demo DIR --store STORE   # keeps the features for the next run
    python benchmarks/moments.py --long              # how long a video of ten hours takes
    python benchmarks/moments.py --real FRAMES.npy STAMPS_MS.npy 0-2.27 2.91-6.54   # annotated spans of a real video
"""

from __future__ import annotations

import argparse
import csv
import itertools
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vtrcli.demo.corpus import write_corpus
from vtrcli.extraction.extract import extract
from vtrcli.model.backbone import DEMO_NAME
from vtrcli.model.families import open_text_tower
from vtrcli.moments.moment import Moment
from vtrcli.moments.rule import RULE, MomentRule, find_moments, moments_of, shot_starts
from vtrcli.searching.frames import pool_frame_scores
from vtrcli.store.reader import FeatureStore, unit_rows
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.sampling import Rate

NUM_CLIPS = 2400
CLIP_FPS = 4.0
RATES = (0.5, 2.0)  # frames per second of the long videos; the first is the default of `vtr extract`
MORE_RATES = (0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
NOISES = (0.0, 1.0, 2.0)
# What frames of one real shot differ by (1 - cosine), as a sum of processes that forget within so many seconds:
# fitted to the cosines 0.980, 0.958, 0.938, 0.913, 0.893 of frames 0.05, 0.25, 1.0, 4.1, 8.2 s apart.
NOISE_PARTS = {0.0: 0.0053, 0.1: 0.0310, 1.0: 0.0279, 10.0: 0.0627, 60.0: 0.0514}
NOISE_DIM = (
    271  # so many equal directions make the score of a text change by 0.012 from frame to frame (19.6 fps)
)
DEMO_CONTRAST = 0.68  # between a demo text's scores of its own clip and of the others (median)
CONTRAST = 0.10  # the same, at noise level 1
MIXED = (8, 40)  # clips per long video
Span = tuple[float, float]
Find = Callable[["Question"], list[Moment]]
AddNoise = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Clip:
    """A demo clip: unit frames float32 [num_frames, dim], texts float32 [num_captions, dim]."""

    path: Path
    frames: np.ndarray
    timestamps: np.ndarray
    seconds: float
    texts: np.ndarray


@dataclass(frozen=True)
class LongVideo:
    """Sampled frames of joined clips; `spans` of the clips that are asked for, `cuts` the first frames of clips."""

    frames: np.ndarray
    timestamps: np.ndarray
    seconds: float
    spans: dict[str, list[Span]]
    cuts: np.ndarray


@dataclass(frozen=True)
class Question:
    """A caption against its video: float64 [num_frames] scores, the true spans, the shots found."""

    video: LongVideo
    scores: np.ndarray
    spans: list[Span]
    shots: np.ndarray


@dataclass(frozen=True)
class Half:
    """Clips to ask for, and clips of the other half to fill up with."""

    clips: dict[str, Clip]
    asked: list[str]
    fill: list[str]
    add_noise: AddNoise

    def videos(
        self,
        length: int | tuple[int, int],
        *,
        rate: float,
        noise: float,
        num_videos: int = 100,
        twice: bool = False,
    ) -> list[LongVideo]:
        """Long videos of `length` clips; `twice` asks for two clips of each, which occur twice in it."""
        rng = np.random.default_rng(7)
        asked = rng.permutation(self.asked).tolist()
        num_videos = min(num_videos, len(asked) // 2)
        made = []
        for number in range(num_videos):
            size = length if isinstance(length, int) else int(rng.integers(length[0], length[1] + 1))
            mine = asked[number::num_videos][: 2 if twice else size]
            names = mine * 2 if twice else list(mine)
            names += rng.choice(self.fill, size - len(names), replace=False).tolist()
            names = shuffled(names, rng)
            repeats = rng.integers(1, 5, len(names)).tolist()
            video = join([self.clips[name] for name in names], repeats, names, rate=rate)
            frames = self.add_noise(video.frames, video.timestamps, noise, rng) if noise else video.frames
            spans = {name: video.spans[name] for name in mine}
            made.append(replace(video, frames=frames, spans=spans))
        return made

    def questions(self, videos: Sequence[LongVideo], *, most: int = 500) -> list[Question]:
        """Two captions of each asked clip, `most` questions at most."""
        asked = (self.ask(video, name) for video in videos for name in video.spans)
        return list(itertools.islice(itertools.chain.from_iterable(asked), most))

    def ask(self, video: LongVideo, name: str) -> Iterator[Question]:
        """The questions for one clip."""
        shots = shot_starts(video.frames, video.timestamps)
        for text in self.clips[name].texts[:2]:
            yield Question(video, text_scores(video.frames, text), video.spans[name], shots)


def with_noise(frames: np.ndarray, times: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Unit frames float32 [num_frames, NOISE_DIM] that texts see `CONTRAST / level` of, with real noise."""
    seen = CONTRAST / level / DEMO_CONTRAST
    hidden = np.linalg.qr(np.random.default_rng(0).normal(size=(NOISE_DIM - frames.shape[1],) * 2))[0]
    scenes = np.hstack([seen * frames, (1 - seen**2) ** 0.5 * frames @ hidden[: frames.shape[1]]])
    return unit_rows(scenes + real_noise(times, rng))


def with_independent_noise(
    frames: np.ndarray, times: np.ndarray, level: float, rng: np.random.Generator
) -> np.ndarray:
    """Unit frames with a random vector of that length added to each: what these tables had before (`--independent`)."""
    return unit_rows(frames + level * unit_rows(rng.normal(size=frames.shape)))


def real_noise(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 [num_frames, NOISE_DIM], to be added to unit vectors: Ornstein-Uhlenbeck processes, exact at `times`."""
    total = np.zeros((len(times), NOISE_DIM), np.float32)
    rest = 1 - sum(NOISE_PARTS.values())
    for seconds, share in NOISE_PARTS.items():
        keep = np.exp(-np.diff(times) / seconds) if seconds else np.zeros(len(times) - 1)
        part = (share / rest / NOISE_DIM) ** 0.5 * rng.normal(size=total.shape).astype(np.float32)
        for row, kept in enumerate(keep.tolist(), start=1):
            part[row] = kept * part[row - 1] + (1 - kept**2) ** 0.5 * part[row]
        total += part
    return total


def text_scores(frames: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """float64 [num_frames] or [num_frames, num_texts]: what texts [(num_texts,) dim] score; noise has more dims."""
    return np.asarray(frames[:, : texts.shape[-1]] @ texts.T, np.float64)


def noise_table() -> None:
    """The noise on one still scene against what was measured on real frames."""
    rng = np.random.default_rng(5)
    times = np.arange(20_000) / 19.62
    scene, text = unit_rows(rng.normal(size=(2, 128)))
    frames = with_noise(np.tile(scene.astype(np.float32), (len(times), 1)), times, 1.0, rng)
    lags = (1, 5, 20, 80, 160)
    cosines = [float((frames[lag:] * frames[:-lag]).sum(axis=1).mean()) for lag in lags]
    steps = np.diff(text_scores(frames, text))
    made = [*cosines, float(steps.std()), float(np.corrcoef(steps[1:], steps[:-1])[0, 1])]
    real = [0.980, 0.958, 0.938, 0.913, 0.893, 0.012, -0.26]
    columns = ["", *(f"cosine of frames {lag} apart" for lag in lags), "a score's step", "lag-1 correlation"]
    rows = [[name, *(f"{value:.3f}" for value in row)] for name, row in (("made", made), ("real", real))]
    print_table("Noise of frames at 19.6 fps, made and real", columns, rows)


def shuffled(names: list[str], rng: np.random.Generator) -> list[str]:
    """A random order in which no clip follows itself."""
    while True:
        order = rng.permutation(names).tolist()
        if len(set(names)) == 1 or all(left != right for left, right in itertools.pairwise(order)):
            return list(order)


def join(clips: Sequence[Clip], repeats: Sequence[int], names: Sequence[str], *, rate: float) -> LongVideo:
    """The frames that sampling a film of these clips would take, each clip playing forth and back."""
    lengths = [clip.seconds * count for clip, count in zip(clips, repeats, strict=True)]
    borders = np.cumsum([0.0, *lengths])
    times = np.arange(int(np.ceil(borders[-1] * rate - 1e-9))) / rate
    at = np.searchsorted(borders, times, side="right") - 1
    rows = []
    for second, number in zip(times, at, strict=True):
        clip = clips[number]
        phase = (second - borders[number]) % (2 * clip.seconds)
        phase = min(phase, 2 * clip.seconds - phase)
        rows.append(clip.frames[np.argmin(np.abs(clip.timestamps - phase))])
    spans: dict[str, list[Span]] = {}
    for name, start, end in zip(names, borders, borders[1:], strict=False):
        spans.setdefault(name, []).append((float(start), float(end)))
    cuts = np.flatnonzero(np.diff(at, prepend=-1))
    return LongVideo(np.array(rows), times, float(borders[-1]), spans, cuts)


def load_halves(demo: Path, store_path: Path, add_noise: AddNoise) -> tuple[Half, Half]:
    """Choice and report half; of a pair with the same frames in opposite orders only one clip."""
    sampling = Rate(fps=CLIP_FPS, min_frames=1)
    extract([demo / "videos"], store=store_path, backbone=DEMO_NAME, sampling=sampling, device="cpu")
    store = FeatureStore(store_path)
    rows = list(csv.DictReader((demo / "captions.csv").open(encoding="utf-8")))
    texts = unit_rows(
        open_text_tower(store, device="cpu").encode_texts([row["caption"] for row in rows]).features
    )
    by_clip: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if row["order_pair"] not in by_clip:
            by_clip.setdefault(row["video_id"], []).append(number)
    clips = {}
    for name, numbers in by_clip.items():
        record = store.videos[name].record
        frames, seconds = unit_rows(store.features(name)), record.duration_seconds or 0.0
        clips[name] = Clip(Path(record.path), frames, store.timestamps(name), seconds, texts[numbers])
    train = [name for name in clips if rows[by_clip[name][0]]["split"] == "train"]
    rest = [name for name in clips if name not in set(train)]
    return Half(clips, train, rest, add_noise), Half(clips, rest, train, add_noise)


def overlap(left: Span, right: Span) -> float:
    """Temporal intersection over union."""
    inside = min(left[1], right[1]) - max(left[0], right[0])
    return max(0.0, inside) / (max(left[1], right[1]) - min(left[0], right[0]))


def best_overlap(moment: Moment, spans: Sequence[Span]) -> float:
    return max(overlap((moment.start_seconds, moment.end_seconds), span) for span in spans)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(f'{item:.1f}' if isinstance(item, float) else str(item) for item in row)} |")


def shots_table(half: Half, called: str) -> None:
    """Precision and recall of cuts, and cuts found in videos of one clip, which have none."""
    rows = []
    for rate, noise in itertools.product(RATES, NOISES):
        found = right = true = 0
        for video in half.videos(MIXED, rate=rate, noise=noise, num_videos=60):
            cuts, starts = (
                set(video.cuts.tolist()) - {0},
                set(shot_starts(video.frames, video.timestamps).tolist()) - {0},
            )
            found, right, true = found + len(starts), right + len(cuts & starts), true + len(cuts)
        single = half.videos(1, rate=rate, noise=noise)
        false = float(np.mean([len(shot_starts(video.frames, video.timestamps)) - 1 for video in single]))
        precision, recall = 100 * right / max(found, 1), 100 * right / true
        rows.append((rate, noise, precision, recall, 200 * right / (found + true), f"{false:.2f}"))
    columns = ["frames/s", "noise", "precision", "recall", "F1", "false cuts per single clip"]
    print_table(f"Shots: cuts found, per cent; {called}", columns, rows)


def pooling_table(
    half: Half, lengths: Sequence[int | tuple[int, int]], logit_scale: float, called: str
) -> None:
    """R@1/R@5 of the right one of 100 videos for max, mean, and softmax at temperatures on the logits."""
    temperatures = (0.3, 1.0, 1.5, 2.0, 3.0, 5.0)
    rows = []
    for rate, noise, length in itertools.product(RATES, NOISES, lengths):
        videos = half.videos(length, rate=rate, noise=noise)
        frames = np.concatenate([video.frames for video in videos])
        stops = np.cumsum([len(video.frames) for video in videos])
        starts = np.concatenate([[0], stops[:-1]])
        asked = [(number, name) for number, video in enumerate(videos) for name in video.spans]
        texts = np.stack([half.clips[name].texts[0] for _, name in asked])
        scores = text_scores(frames, texts).astype(np.float32)
        pooled = [
            pool_frame_scores(scores, starts, stops, "max"),
            text_scores(unit_rows(np.add.reduceat(frames, starts, axis=0)), texts),
            *(pool_frame_scores(scores, starts, stops, "softmax", t / logit_scale) for t in temperatures),
        ]
        own = np.array([number for number, _ in asked])
        clips = str(length) if isinstance(length, int) else "-".join(map(str, length))
        rows.append((rate, noise, clips, len(own), *(recalls(table, own) for table in pooled)))
    columns = ["frames/s", "noise", "clips", "queries", "max", "mean", *(f"T {t:g}" for t in temperatures)]
    print_table(
        f"(a) The right one of 100 videos (fewer where clips are few), R@1/R@5 per cent; {called}",
        columns,
        rows,
    )


def recalls(pooled: np.ndarray, own: np.ndarray) -> str:
    """R@1/R@5 of scores [num_videos, num_queries]."""
    ranks = (pooled > pooled[own, np.arange(len(own))]).sum(axis=0)
    return f"{100 * (ranks < 1).mean():.0f}/{100 * (ranks < 5).mean():.0f}"


def ways() -> dict[str, Find]:
    """What is compared: the rule as it is, with one part off or changed, and what was tried and left."""

    def by(rule: MomentRule, *, shots: bool = True) -> Find:
        return lambda ask: find(ask, rule, shots=ask.shots if shots else None)

    before = replace(RULE, noise_deviations=0, smoothing_seconds=0, crowded_share=1, listing_share=1)
    found = {"half height of the raw scores": by(before, shots=False), "as built": by(RULE)}
    found["three frames smoothed (before)"] = three_frames
    changes: dict[str, dict[str, float]] = {
        "no smoothing": {"smoothing_seconds": 0},
        "smoothing over 0.5 s": {"smoothing_seconds": 0.5},
        "smoothing over 2 s": {"smoothing_seconds": 2},
        "smoothing over 4 s": {"smoothing_seconds": 4},
        "noise not considered": {"noise_deviations": 0},
        "noise x 1": {"noise_deviations": 1},
        "noise x 3": {"noise_deviations": 3},
        "background: always the median": {"crowded_share": 1},
        "background: crowded from 0.5": {"crowded_share": 0.5},
        "height 0.4": {"height_share": 0.4},
        "height 0.6": {"height_share": 0.6},
    }
    found |= {name: by(replace(RULE, **change)) for name, change in changes.items()}
    found["no shots"] = by(RULE, shots=False)
    found["true shots"] = lambda ask: find(ask, RULE, shots=ask.video.cuts)
    found["half height, median of 3 first"] = lambda ask: find(ask, before, scores=median_of_3(ask.scores))
    found["half height, mean of the shot mixed in"] = lambda ask: find(ask, before, scores=shot_mixed(ask))
    found["ends at the peak's shot at the latest"] = lambda ask: in_shot(ask, whole=False)
    found["the peak's whole shot"] = lambda ask: in_shot(ask, whole=True)
    return found


def three_frames(ask: Question) -> list[Moment]:
    """As the rule was: means of three frames, the neighbours weighing a quarter, whatever time lies between them."""
    weights = np.full(len(ask.scores) - 1, 0.25)
    weights[ask.shots[1:] - 1] = 0
    drift = weights * np.diff(ask.scores)
    pulls = np.append(drift, 0) - np.append(0, drift)
    smoothed = ask.scores + pulls / (1 + np.append(weights, 0) + np.append(0, weights))
    return find(ask, replace(RULE, smoothing_seconds=0), shots=ask.shots, scores=smoothed)


def rates_table(half: Half) -> None:
    """Overlap of the best moment at many rates, of the rule and of smoothing three frames whatever the rate."""
    rows = []
    for noise in NOISES:
        for name, way in {
            "as built": ways()["as built"],
            "three frames smoothed (before)": three_frames,
        }.items():
            found = []
            for rate in MORE_RATES:
                videos = half.videos(MIXED, rate=rate, noise=noise, num_videos=20)
                found.append(f"{100 * best_overlaps(half.questions(videos, most=200), way)[0].mean():.0f}")
            rows.append((noise, name, *found))
    columns = ["noise", "rule", *(f"{rate:g} fps" for rate in MORE_RATES)]
    print_table("(b2) IoU of the best moment at other rates, per cent", columns, rows)


def real_table(frames_path: str, stamps_path: str, *spans: str) -> None:
    """Real features of every frame, each annotated span asked for by its mean feature, at many rates.

    Of each rate the mean of ten samplings that begin at different times, and the one that begins with the first frame.
    """
    features, times = np.load(frames_path), np.load(stamps_path) / 1000
    units = unit_rows(features)
    seconds = float(times[-1] + np.diff(times).mean())
    rows = []
    for rate in (0.2, 0.5, 1.0, 2.0, 5.0, None):
        cells: dict[str, list[str]] = {"three frames smoothed (before)": [], "as built": []}
        for start, end in (tuple(map(float, span.split("-"))) for span in spans):
            query = unit_rows(units[(times >= start) & (times <= end)].mean(axis=0)[None])[0]
            samplings = [np.arange(len(times))]
            if rate is not None:
                wanted = (np.arange(phase / rate, times[-1], 1 / rate) for phase in np.arange(10) / 10)
                samplings = [np.unique(np.abs(times[:, None] - at).argmin(axis=0)) for at in wanted]
            for name, way in (
                ("three frames smoothed (before)", three_frames),
                ("as built", ways()["as built"]),
            ):
                found = []
                for chosen in samplings:
                    at = times[chosen]
                    video = LongVideo(units[chosen], at, seconds, {}, np.zeros(1, int))
                    shots = shot_starts(video.frames, at)
                    ask = Question(video, text_scores(video.frames, query), [(start, end)], shots)
                    found.append(float(best_overlaps([ask], way)[0][0]))
                cells[name].append(f"{np.mean(found):.2f} ({found[0]:.2f})")
        rows += [
            ("every frame" if rate is None else f"{rate:g} fps", name, *row) for name, row in cells.items()
        ]
    print_table("IoU of real spans: mean of ten samplings (the first)", ["", "rule", *spans], rows)


def long_table(num_frames: int = 72_000, dim: int = 512, rounds: int = 5) -> None:
    """Ten hours at two frames a second: the best moments, from float16 features."""
    rng = np.random.default_rng(0)
    scenes = np.repeat(rng.normal(size=(num_frames // 30, dim)), 30, axis=0)
    features = (scenes + 0.5 * rng.normal(size=scenes.shape)).astype(np.float16)
    del scenes
    times, query = np.arange(num_frames) / 2, unit_rows(features[num_frames // 2 :][:1])[0]
    rows = []
    for num_windows in (None, 10):
        spent = []
        for _ in range(rounds):
            at, cpu = time.perf_counter(), time.process_time()
            moments_of(features, times, num_frames / 2, query, num_windows=num_windows)
            spent.append((time.perf_counter() - at, time.process_time() - cpu))
        tracemalloc.start()
        moments_of(features, times, num_frames / 2, query, num_windows=num_windows)
        memory = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        what = "the moments" if num_windows is None else "ten windows"
        rows.append((what, *(f"{value:.3f}" for value in np.min(spent, axis=0)), memory))
    columns = ["72,000 frames", "s", "processor time, s", "memory beyond the features, MB"]
    print_table("A video of ten hours", columns, rows)


def find(
    ask: Question, rule: MomentRule, *, shots: np.ndarray | None = None, scores: np.ndarray | None = None
) -> list[Moment]:
    video = ask.video
    scores = ask.scores if scores is None else scores
    return find_moments(scores, video.timestamps, video.seconds, shots=shots, rule=rule)


def median_of_3(scores: np.ndarray) -> np.ndarray:
    padded = np.pad(scores, 1, mode="edge")
    return np.asarray(np.median(np.stack([padded[:-2], scores, padded[2:]]), axis=0))


def shot_mixed(ask: Question) -> np.ndarray:
    sizes = np.diff(ask.shots, append=len(ask.scores))
    means = np.add.reduceat(ask.scores, ask.shots) / sizes
    return np.asarray((ask.scores + np.repeat(means, sizes)) / 2)


def in_shot(ask: Question, *, whole: bool) -> list[Moment]:
    """The best moment cut to its peak's shot, or made that shot."""
    moment, times = find(ask, RULE, shots=ask.shots)[0], ask.video.timestamps
    borders = np.concatenate(
        [[0.0], (times[ask.shots[1:]] + times[ask.shots[1:] - 1]) / 2, [ask.video.seconds]]
    )
    number = int(np.searchsorted(borders, moment.peak_seconds, side="right")) - 1
    start, end = float(borders[number]), float(borders[number + 1])
    if not whole:
        start, end = max(start, moment.start_seconds), min(end, moment.end_seconds)
    return [replace(moment, start_seconds=start, end_seconds=end)]


def spans_table(half: Half, called: str) -> None:
    """Overlap of the best moment with the true span."""
    long = [
        half.questions(half.videos(MIXED, rate=rate, noise=noise, num_videos=60))
        for rate, noise in itertools.product(RATES, NOISES)
    ]
    short = [
        half.questions(half.videos(length, rate=2, noise=noise), most=300)
        for length, noise in itertools.product((1, 2, 3), (0.0, 1.0))
    ]
    rows = []
    for name, way in ways().items():
        in_long = [best_overlaps(questions, way) for questions in long]
        values = np.concatenate([overlaps for overlaps, _ in in_long])
        inside = 100 * float(np.mean([share for _, share in in_long]))
        in_short = 100 * float(np.mean([best_overlaps(questions, way)[0].mean() for questions in short]))
        recall = [100 * float((values >= bound).mean()) for bound in (0.3, 0.5, 0.7)]
        each = " ".join(f"{100 * overlaps.mean():.0f}" for overlaps, _ in in_long)
        rows.append((name, 100 * float(values.mean()), *recall, inside, each, in_short))
    columns = ["rule", "IoU", "R@0.3", "R@0.5", "R@0.7", "peak inside"]
    columns += ["IoU at 0.5 fps (noise 0 1 2), 2 fps (0 1 2)", "IoU, videos of 1 to 3 clips"]
    print_table(f"(b) The best moment of the right video, per cent; {called}", columns, rows)


def best_overlaps(questions: Sequence[Question], way: Find) -> tuple[np.ndarray, float]:
    """Overlap of each best moment, and how many peaks lie inside a true span."""
    best = [way(ask)[0] for ask in questions]
    overlaps = [best_overlap(moment, ask.spans) for moment, ask in zip(best, questions, strict=True)]
    inside = [
        any(start <= moment.peak_seconds <= end for start, end in ask.spans)
        for moment, ask in zip(best, questions, strict=True)
    ]
    return np.array(overlaps), float(np.mean(inside))


def listing_table(half: Half, called: str) -> None:
    """What is listed: the true span among the first moments, both of a clip that comes twice, and false ones."""
    conditions = list(itertools.product(RATES, NOISES))
    once = [half.questions(half.videos(MIXED, rate=r, noise=n, num_videos=60)) for r, n in conditions]
    double = [half.questions(half.videos(MIXED, rate=r, noise=n, twice=True)) for r, n in conditions]
    rows = []
    for share in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0):
        rule = replace(RULE, listing_share=share)
        hits, false = [], []
        for ask in itertools.chain.from_iterable(once):
            moments = find(ask, rule, shots=ask.shots)
            overlaps = [best_overlap(moment, ask.spans) for moment in moments]
            hits.append([max(overlaps[:count]) >= 0.5 for count in (1, 3, 5)])
            false.append(sum(value == 0 for value in overlaps))
        both = []
        for ask in itertools.chain.from_iterable(double):
            moments = find(ask, rule, shots=ask.shots)[:5]
            both.append(
                all(max(best_overlap(moment, [span]) for moment in moments) >= 0.5 for span in ask.spans)
            )
        top = [100 * float(value) for value in np.mean(hits, axis=0)]
        rows.append((f"{share:g}", *top, 100 * float(np.mean(both)), f"{np.mean(false):.2f}"))
    columns = ["listing share", "top 1", "top 3", "top 5", "both of two", "moments beside the truth"]
    print_table(f"(c) True spans listed (IoU 0.5), per cent; {called}", columns, rows)


def global_table(half: Half, *, num_queries: int = 150) -> None:
    """All moments of all videos in one ranking by score: is the right one among the first?"""
    rows = []
    for rate, noise in itertools.product(RATES, NOISES):
        videos = half.videos(MIXED, rate=rate, noise=noise)
        shots = [shot_starts(video.frames, video.timestamps) for video in videos]
        asked = [(number, name) for number, video in enumerate(videos) for name in video.spans][::5]
        ranks = []
        for own, name in asked[:num_queries]:
            ranked: list[tuple[float, int, Moment]] = []
            for number, video in enumerate(videos):
                scores = text_scores(video.frames, half.clips[name].texts[0])
                found = find_moments(scores, video.timestamps, video.seconds, shots=shots[number])
                ranked += [(-moment.score, number, moment) for moment in found]
            ranked.sort(key=lambda entry: entry[:2])
            right = [
                rank
                for rank, (_, number, moment) in enumerate(ranked)
                if number == own and best_overlap(moment, videos[own].spans[name]) >= 0.5
            ]
            ranks.append(right[0] if right else len(ranked))
        within = [100 * float(np.mean(np.array(ranks) < bound)) for bound in (1, 5, 10)]
        rows.append((rate, noise, len(ranks), *within))
    columns = ["frames/s", "noise", "queries", "top 1", "top 5", "top 10"]
    print_table(
        "(d) All moments of these videos in one ranking, the right one among the first, per cent",
        columns,
        rows,
    )


def film_table(half: Half, work: Path, *, num_films: int = 6, num_clips: int = 12) -> None:
    """Really joined files through `extract`, against joined features."""
    names = np.random.default_rng(3).permutation(half.asked).tolist()[: num_films * num_clips]
    films = [names[start : start + num_clips] for start in range(0, len(names), num_clips)]
    (work / "films").mkdir()
    for number, film in enumerate(films):
        join_files([half.clips[name].path for name in film], work / "films" / f"film{number}.mp4", work)
    rows = []
    for rate in RATES:
        path = work / f"films-{rate}"
        sampling = Rate(fps=rate, min_frames=1)
        extract([work / "films"], store=path, backbone=DEMO_NAME, sampling=sampling, device="cpu")
        store = FeatureStore(path)
        results: dict[str, list[tuple[np.ndarray, float]]] = {"joined files": [], "joined features": []}
        for number, film in enumerate(films):
            made = join([half.clips[name] for name in film], [1] * len(film), film, rate=rate)
            key = f"film{number}"
            real = replace(
                made,
                frames=unit_rows(store.features(key)),
                timestamps=store.timestamps(key).astype(np.float64),
                seconds=store.videos[key].record.duration_seconds or made.seconds,
            )
            for way, video in (("joined files", real), ("joined features", made)):
                asked = [question for name in film for question in half.ask(video, name)]
                results[way].append(best_overlaps(asked, lambda ask: find(ask, RULE, shots=ask.shots)))
        for way, parts in results.items():
            values = np.concatenate([overlaps for overlaps, _ in parts])
            inside = 100 * float(np.mean([share for _, share in parts]))
            rows.append(
                (
                    way,
                    rate,
                    len(values),
                    100 * float(values.mean()),
                    100 * float((values >= 0.5).mean()),
                    inside,
                )
            )
    columns = ["", "frames/s", "queries", "IoU", "R@0.5", "peak inside"]
    print_table("(e) Files joined by ffmpeg and extracted, against joined features, per cent", columns, rows)


def join_files(clips: Sequence[Path], target: Path, work: Path) -> None:
    """One MP4 of several of the demo's, which have one format: nothing is encoded again."""
    listing = work / "list.txt"
    listing.write_text("".join(f"file '{path.resolve()}'\n" for path in clips), encoding="utf-8")
    command = [ffmpeg_binary(), "-loglevel", "error", "-f", "concat", "-safe", "0", "-i", str(listing)]
    subprocess.run([*command, "-c", "copy", str(target)], check=True, timeout=60)


def main() -> None:
    """Make what is missing and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--demo", type=Path, help="folder with videos/ and captions.csv, as `vtr demo` leaves it"
    )
    parser.add_argument("--store", type=Path, help="where to keep the clips' features")
    parser.add_argument("--long", action="store_true", help="only how long a video of ten hours takes")
    parser.add_argument(
        "--real", nargs="+", metavar="FILE", help="only real features: frames, stamps in ms, spans"
    )
    parser.add_argument("--independent", action="store_true", help="noise that forgets from frame to frame")
    options = parser.parse_args()
    if options.long:
        return long_table()
    if options.real:
        return real_table(*options.real)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        demo = options.demo or work / "demo"
        if options.demo is None:
            write_corpus(demo, num_videos=NUM_CLIPS)
        store = options.store or work / "store"
        add_noise = with_independent_noise if options.independent else with_noise
        choice, report = load_halves(demo, store, add_noise)
        print(f"{len(choice.asked)} clips to choose with, {len(report.asked)} to report on")
        logit_scale = FeatureStore(store).config.backbone.logit_scale
        noise_table()
        shots_table(choice, "choice half")
        shots_table(report, "report half")
        pooling_table(choice, (MIXED,), logit_scale, "choice half")
        pooling_table(report, (1, 8, 40, MIXED), logit_scale, "report half")
        spans_table(choice, "choice half")
        spans_table(report, "report half")
        rates_table(report)
        listing_table(choice, "choice half")
        listing_table(report, "report half")
        global_table(report)
        film_table(report, work)


if __name__ == "__main__":
    main()
