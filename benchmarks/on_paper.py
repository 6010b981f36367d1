"""From a thousand to a hundred million videos on paper: what they take on disk, in time and in memory.

Bytes are measured: a store of made-up videos is written and opened as `vtr search` opens it. Times are rates of
docs/experiments.md and docs/decoding.md, multiplied; the constants below name the line that each one is of.

    python benchmarks/on_paper.py --write docs/scale.md       # ten seconds
    python benchmarks/on_paper.py --dim 1024 --frames 60 --frames-per-second 900 --decoders 16
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from synthetic import DIM, write_store

from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.config import BackboneInfo

BEGIN, END = "<!-- on paper: by benchmarks/on_paper.py --write -->", "<!-- on paper: end -->"
VIDEOS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
SAMPLE = 4096  # videos that are written
FRAMES = 12

# Measured on 2 cores, see docs/experiments.md.
FRAMES_PER_CORE_SECOND = 36.1 / 2  # ViT-B/32 in bfloat16, "ViT-B/32 frames": benchmarks/encode.py
DECODE_CORE_SECONDS = (
    0.9  # 12 frames of ten minutes of 720p by seeks; a clip of 12 s takes a tenth: benchmarks/decode.py
)
KEPT_BYTES = 148_600  # of a frame that is kept whole, "How frames are kept": benchmarks/kept_frames.py
SCAN_SECONDS_PER_BYTE = 0.42 / (
    12e6 * DIM * 2
)  # the 10 best moments of 12 million frames, in memory: search_vectors.py
CATALOG_SECONDS_PER_VIDEO = 100 / 1e6  # made once, as that row says
CORES, WEEK = 16, 7 * 24 * 3600  # of a machine in the table


@dataclass(frozen=True)
class PerVideo:
    """Bytes of one video in the store."""

    shards: float
    index: float


def measured(num_frames: int) -> PerVideo:
    """Write a store of DIM numbers a frame, and have its catalogue made."""
    with tempfile.TemporaryDirectory() as name:
        store = Path(name, "store")
        tag = BackboneInfo(name="made up", sha256="5" * 64, dim=DIM, input_size=224, logit_scale=100.0)
        write_store(store, tag, num_videos=SAMPLE, num_frames=num_frames)
        open_catalog(store)
        sizes = {
            folder: sum(path.stat().st_size for path in (store / folder).rglob("*") if path.is_file())
            for folder in ("shards", "index")
        }
    return PerVideo(sizes["shards"] / SAMPLE, sizes["index"] / SAMPLE)


def size(num_bytes: float) -> str:
    """1.2 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if num_bytes < 1000 or unit == "TB":
            return f"{num_bytes:.3g} {unit}" if num_bytes < 1000 else f"{num_bytes:,.0f} {unit}"
        num_bytes /= 1000
    raise AssertionError


def span(seconds: float) -> str:
    """2.5 h."""
    for unit, length in (("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("days", 86400.0)):
        following = {"ms": 1.0, "s": 120.0, "min": 7200.0, "h": 172800.0}.get(unit, math.inf)
        if seconds < following:
            value = seconds / length
            return f"{value:.2g} {unit}" if value < 100 else f"{value:,.0f} {unit}"
    raise AssertionError


def machines(seconds_per_video: float, num_videos: int) -> str:
    """How many of them are done with it within a week."""
    return f"{max(1, math.ceil(seconds_per_video * num_videos / WEEK)):,}"


def markdown(options: argparse.Namespace) -> str:
    """The table, and the numbers of one video."""
    frames, dim = options.frames, options.dim
    at = measured(frames)
    features = frames * dim * 2
    about = at.shards - frames * DIM * 2  # times and what is known of the video
    shards = features + about
    encode = frames / FRAMES_PER_CORE_SECOND
    on_cpu = encode + DECODE_CORE_SECONDS
    on_gpu = max(frames / options.frames_per_second, DECODE_CORE_SECONDS / options.decoders)
    lines = [
        f"One video, {frames} frames of {dim} numbers: features {frames} x {dim} x 2 = {features:,} bytes, "
        f"times and names {about:,.0f}, catalogue {at.index:,.0f}; kept frames (`--keep-frames`) {frames} x "
        f"{KEPT_BYTES:,} = {size(frames * KEPT_BYTES)}. One core is at it for {encode:.2f} s of encoding and "
        f"{DECODE_CORE_SECONDS} s of decoding. A card that encodes {options.frames_per_second:,} frames/s (an "
        f"assumption: put in yours), with {options.decoders} cores to decode, takes {1000 * on_gpu:.0f} ms.",
        "",
        f"| videos | store | index | kept frames | extraction, {CORES} cores | a card | machines for a week, of "
        f"{CORES} cores / with a card | catalogue, made once | the scan of a query |",
        "|---" * 9 + "|",
    ]
    for count in VIDEOS:
        cells = [
            f"{count:,}",
            size(count * shards),
            size(count * at.index),
            size(count * frames * KEPT_BYTES),
            span(count * on_cpu / CORES),
            span(count * on_gpu),
            f"{machines(on_cpu / CORES, count)} / {machines(on_gpu, count)}",
            span(count * CATALOG_SECONDS_PER_VIDEO),
            span(count * features * SCAN_SECONDS_PER_BYTE),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=FRAMES, help="of a video")
    parser.add_argument("--dim", type=int, default=DIM, help="numbers of a frame")
    parser.add_argument("--frames-per-second", type=int, default=1000, help="that your card encodes")
    parser.add_argument("--decoders", type=int, default=16, help="cores beside the card")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put the table between the marks of a page"
    )
    options = parser.parse_args()
    text = markdown(options)
    print(text)
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.S)
        options.write.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page), encoding="utf-8")


if __name__ == "__main__":
    main()
