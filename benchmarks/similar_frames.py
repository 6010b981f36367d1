"""What `--similar-frames` saves and what it does to features, bound by bound.

    python benchmarks/similar_frames.py FOLDER_OR_FILE ... [--made] [--backbone demo] [--fps 2] [--bounds 0 1 2 4 8 16]

Every frame is encoded once by itself; what a bound would have stored instead is looked up. `repeated` is the share of
frames that are not encoded, `cosine change` 1 - cosine of a frame's own feature and the one that it would get, mean
over those that are repeated, and the worst. `spread` compares that with the content: the length of the mean error over
the mean distance of a feature from its video's mean; `time` is the processor time that is left, with looking,
by that of encoding every frame. `--made` adds three made kinds: slides, a screen on which text
appears, and a still camera with noise.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from vtrcli.errors import VtrError
from vtrcli.extraction.similar import NewFrames
from vtrcli.model.backbone import Backbone
from vtrcli.model.families import load_backbone
from vtrcli.model.frame_batches import FrameBatcher, lanes_of
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Rate

SECONDS = 60
LINES = ",".join(
    f"drawbox=x=40:y={20 + 10 * n}:w={150 + 37 * n % 300}:h=6:t=fill:c=black:enable='gte(t,{2 * n})'"
    for n in range(30)
)
MADE = {
    "slides": f"color=c=0x204060:size=640x360:rate=25:duration={SECONDS},drawgrid=w=80:h=60:t=3:c=white,"
    "drawbox=x=60:y=60:w=200:h=120:t=fill:c=0xa0a030:enable='between(t,10,20)+between(t,30,50)',"
    "drawbox=x=300:y=160:w=260:h=90:t=fill:c=0x802020:enable='gte(t,40)'",
    "screen": f"color=c=white:size=640x360:rate=25:duration={SECONDS},{LINES}",
    "camera": "mandelbrot=size=640x360:rate=25:maxiter=200,loop=loop=-1:size=1,noise=alls=8:allf=t[still];"
    f"color=c=red:size=24x48:rate=25:duration={SECONDS}[walker];[still][walker]overlay=x='20*t':y=200:shortest=1",
}


def make(folder: Path) -> list[Path]:
    """The made kinds, H.264."""
    paths = []
    for name, graph in MADE.items():
        paths.append(folder / f"{name}.mp4")
        command = [
            ffmpeg_binary(),
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            graph.format(s=SECONDS),
            "-t",
            str(SECONDS),
        ]
        command += ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", str(paths[-1])]
        subprocess.run(command, check=True)
    return paths


def frames_of(path: Path, backbone: Backbone, fps: float, most: int) -> np.ndarray:
    """uint8 [num_frames, height, width, 3]."""
    with open_video(
        path, Rate(fps=fps, min_frames=2, max_frames=most), size=backbone.preprocessing
    ) as reader:
        return np.concatenate([batch.pixels for batch in reader])


def features_of(frames: np.ndarray, backbone: Backbone) -> tuple[np.ndarray, float]:
    """float64 [num_frames, dim], and processor seconds per frame."""
    batcher = FrameBatcher(lanes_of(backbone, batch_size=16))
    started = time.process_time()
    done = [*batcher.push(0, frames), *batcher.flush()]
    spent = (time.process_time() - started) / len(frames)
    return np.concatenate([features for _, features in done]).astype(np.float64), spent


def main() -> None:
    """Print one line per video and bound, and one per bound for all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--made", action="store_true")
    parser.add_argument("--backbone", default="demo")
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--most", type=int, default=120, help="frames of a video")
    parser.add_argument("--bounds", nargs="+", type=float, default=[0, 1, 2, 4, 8, 16])
    options = parser.parse_args()
    backbone = load_backbone(options.backbone, towers="image")
    with tempfile.TemporaryDirectory() as folder:
        paths = make(Path(folder)) if options.made else []
        for path in options.paths:
            paths += sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        headings = ("video", "bound", "frames", "repeated", "cosine change", "worst", "spread", "time")
        print("{:22} {:>5} {:>6} {:>9} {:>15} {:>9} {:>7} {:>6}".format(*headings))
        for path in paths:
            try:
                frames = frames_of(path, backbone, options.fps, options.most)
            except VtrError:
                continue
            show(path.name, frames, backbone, options.bounds)


def show(name: str, frames: np.ndarray, backbone: Backbone, bounds: list[float]) -> None:
    """One video."""
    own, per_frame = features_of(frames, backbone)
    unit = own / np.linalg.norm(own, axis=1, keepdims=True)
    away = np.linalg.norm(unit - unit.mean(axis=0), axis=1).mean()
    for bound in bounds:
        started = time.process_time()
        picked, numbers = NewFrames(bound).pick(frames)
        looking = (time.process_time() - started) / len(frames)
        firsts = np.flatnonzero(np.diff(numbers, prepend=-1))
        given = unit[firsts][numbers]
        change = 1 - (unit * given).sum(axis=1)
        is_repeated = np.ones(len(frames), bool)
        is_repeated[firsts] = False
        error = np.linalg.norm(unit - given, axis=1).mean() / away if away else 0.0
        mean = change[is_repeated].mean() if is_repeated.any() else 0.0
        share = len(picked) / len(frames) + looking / per_frame
        print(
            f"{name[:22]:22} {bound:5g} {len(frames):6} {is_repeated.mean():9.0%} {mean:15.6f} "
            f"{change.max():9.6f} {error:7.3f} {share:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
