"""A whole `vtr extract` into a new store: many short clips, a long film, its key frames. Beside clip-video-encode and a
PyAV loop, the frames of all checked to be the same, and beside decoding and encoding alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extract import encode_alone, make_clip, make_film, make_weights, run_once

import vtrcli as vtr
from suite import peers
from suite.measure import Row, Timed, timed, together
from vtrcli.extraction.pipeline import DecodeSettings, Job
from vtrcli.model.backbone import Backbone
from vtrcli.model.clip.model import load_clip
from vtrcli.model.families import load_backbone
from vtrcli.store.records import file_state
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.sampling import Keyframes, Rate, Sampling

STEP_SECONDS, FRAMES_PER_SECOND = 2.0, 25
NUM_DRAWN = 50  # clips that are drawn; the others are copies with another content
PROBE_VIDEOS = 8


class Bench:
    """The weights, as vtr and as the peers take them."""

    def __init__(self, work: Path) -> None:
        self.work, self.out, self.store = work, work / "npy", work / "bench-store"
        self.out.mkdir(exist_ok=True)
        self.weights = make_weights(work / "vit-b-32.safetensors")
        self.backbone = self.load()
        self.model: Any = load_clip(self.weights, device="cpu", dtype=torch.float32, towers="image")

    def load(self) -> Backbone:
        """vtr's image tower, as `vtr extract` loads it."""
        return load_backbone(str(self.weights), device="cpu", towers="image")

    def extract(self, paths: Sequence[Path], sampling: Sampling) -> None:
        shutil.rmtree(self.store, ignore_errors=True)
        done = vtr.extract(paths, self.store, backbone=str(self.weights), sampling=sampling, device="cpu")
        assert done.num_extracted == len(paths), done

    def times(self) -> dict[str, list[float]]:
        """Path -> what the store says of its frames."""
        store = vtr.FeatureStore(self.store)
        return {store.paths[name]: store.timestamps(name).tolist() for name in store.videos}


def rows(options: Namespace) -> Iterator[Row]:
    bench = Bench(options.work)
    clips = short_clips(options.work, options.clips)
    step = Rate(fps=1 / STEP_SECONDS, min_frames=1)
    turns = np.array_split(np.arange(len(clips)), options.clip_rounds)
    yield one_row(
        f"extract {len(clips):,} clips of 3 to 10 s, 320x240, a frame every 2 s"
        + f", in {len(turns)} turns" * (len(turns) > 1),
        bench,
        [[clips[number] for number in turn] for turn in turns],
        step,
        probe=clips[:PROBE_VIDEOS],
        unit="videos",
    )
    if not options.film_minutes:
        return
    film = long_film(options.work, options.film_minutes)
    about = f"a film of {options.film_minutes} min, 720p"
    minute = [options.work / "minute.mp4"]
    films = [[film]] * options.film_rounds
    yield one_row(f"extract {about}, a frame every 2 s", bench, films, step, probe=minute, unit="frames")
    yield one_row(f"extract {about}, key frames", bench, films, Keyframes(), probe=minute, unit="frames")


def one_row(
    what: str, bench: Bench, turns: list[list[Path]], sampling: Sampling, *, probe: list[Path], unit: str
) -> Row:
    """Each turn is a round on its own videos."""
    ways, left_out = peer_ways(bench, sampling, probe)
    bench.extract(probe, sampling)  # weights are measured for half precision once in a life
    for name, way in ways.items():
        check_frames(name, way(probe), bench.times())
    ours, loading = Timed("vtr extract"), Timed("load the weights")
    decoding, encoding = Timed("decode alone"), Timed("encode alone")
    found = {name: Timed(name) for name in ways}
    num_frames = 0
    for paths in turns:
        for path in paths:
            read_through(path)
        timed(partial(bench.extract, paths, sampling), ours)
        expected = bench.times()
        num_frames = sum(map(len, expected.values()))
        for name, way in ways.items():
            videos = timed(partial(way, paths), found[name])
            check_frames(name, videos, expected)
        timed(partial(decode_alone, paths, sampling, bench.backbone), decoding)
        timed(partial(encode_alone, bench.backbone, num_frames), encoding)
        timed(bench.load, loading)
    return Row(
        what,
        ours,
        list(found.values()),
        together("decode alone, then encode alone", [decoding, encoding]),
        (len(turns[-1]) if unit == "videos" else num_frames, unit),
        parts=[decoding, encoding, loading],
        notes=[
            f"{num_frames:,} frames in the last turn, ViT-B/32 with random weights, vtr in {bench.backbone.precision}"
        ],
        left_out=left_out,
    )


def read_through(path: Path) -> None:
    """So that nobody waits for the disk."""
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


PeerWay = Callable[[Sequence[Path]], dict[Path, peers.Video]]


def peer_ways(
    bench: Bench, sampling: Sampling, probe: list[Path]
) -> tuple[dict[str, PeerWay], dict[str, str]]:
    """Those that can run here, by name, and why others cannot. Of PyAV's linear pass and seeks the faster one."""
    ways: dict[str, PeerWay] = {}
    left_out = {}
    if isinstance(sampling, Keyframes):
        left_out["clip-video-encode"] = "it takes every n-th frame alone"
    elif find_spec("cv2") is None:
        left_out["clip-video-encode"] = 'OpenCV is not installed (pip install ".[bench]")'
    else:
        every = int(STEP_SECONDS * FRAMES_PER_SECOND)
        ways["clip-video-encode's way: OpenCV, float32"] = lambda paths: peers.clip_video_encode(
            paths, every=every, model=bench.model, out=bench.out
        )
    if find_spec("av") is None:
        left_out["PyAV"] = 'it is not installed (pip install ".[bench]")'
        return ways, left_out
    kinds: dict[str, peers.Frames] = {"key frames": peers.key_frames}
    if not isinstance(sampling, Keyframes):
        kinds = peers.every(STEP_SECONDS)
    kind, frames = fastest(kinds, probe)
    ways[f"a PyAV loop, {kind}, {bench.backbone.precision} as vtr"] = lambda paths: peers.pyav_loop(
        paths, frames=frames, encode=bench.backbone.encode_images
    )
    return ways, left_out


def fastest(kinds: dict[str, peers.Frames], probe: list[Path]) -> tuple[str, peers.Frames]:
    """By decoding a few videos."""
    taken = {}
    for kind, frames in kinds.items():
        started = time.perf_counter()
        for path in probe:
            peers.decoded(path, frames)
        taken[kind] = time.perf_counter() - started
    best = min(taken, key=taken.__getitem__)
    return best, kinds[best]


def check_frames(name: str, found: dict[Path, peers.Video], ours: dict[str, list[float]]) -> None:
    """The same videos and times, and a feature for each frame."""
    assert {str(path.absolute()) for path in found} == set(ours), f"{name}: other videos"
    for path, (features, times) in found.items():
        expected = ours[str(path.absolute())]
        assert len(features) == len(times) == len(expected), f"{name}: {len(times)} frames of {path}"
        assert np.allclose(times, expected, atol=0.5 / FRAMES_PER_SECOND), f"{name}: {times} and {expected}"


def decode_alone(paths: Sequence[Path], sampling: Sampling, backbone: Backbone) -> None:
    """vtr's decoders, as many as it takes, and an encoder that costs nothing."""
    settings = DecodeSettings(
        sampling=sampling,
        input_size=backbone.preprocessing,
        num_workers=os.cpu_count() or 1,
        timeout_seconds=None,
        keep_size=None,
    )
    run_once([Job(path, path.stem, file_state(path)) for path in paths], settings, None)


def short_clips(work: Path, number: int) -> list[Path]:
    """Of 3 to 10 s, each with a content of its own; kept if they are there."""
    drawn = [
        make_clip(work / "drawn" / f"{n}.mp4", seconds=3 + n % 8, hue=7 * n)
        for n in range(min(number, NUM_DRAWN))
    ]
    paths = [work / "clips" / f"{n:04d}.mp4" for n in range(number)]
    paths[0].parent.mkdir(exist_ok=True)
    for n, path in enumerate(paths):
        if not path.exists():  # padding at its end, which players pass over, makes it another file
            path.write_bytes(drawn[n % NUM_DRAWN].read_bytes() + b"\0\0\0\x08free" * (1 + n // NUM_DRAWN))
    return paths


def long_film(work: Path, minutes: int) -> Path:
    """The film of benchmarks/extract.py, one minute of it, or ten over and over; kept if it is there."""
    ten, path = make_film(work / "film.mp4"), work / f"film-{minutes}.mp4"
    if minutes in (1, 10):
        return work / "minute.mp4" if minutes == 1 else ten
    if not path.exists():
        temporary = path.with_name(f"part-{path.name}")
        loop = ["-stream_loop", str(minutes // 10 - 1), "-i", str(ten), "-c", "copy", str(temporary)]
        subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *loop], check=True)
        temporary.rename(path)
    return path
