"""What kept frames cost, and how near what a backbone makes of them comes to what it makes of the videos.

    python benchmarks/kept_frames.py FOLDER                        # sizes, pixels, processor time
    python benchmarks/kept_frames.py FOLDER --backbone ViT-B/32    # and the cosines of its features

Every way reads the same frames, `--frames` of each video; times are processor time of this program and ffmpeg, per
frame, the encoder not counted.
"""

from __future__ import annotations

import argparse
import io
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from vtrcli.extraction.discover import discover
from vtrcli.model.families import load_backbone
from vtrcli.preprocessing import KEEP_SIZE, Framing
from vtrcli.store.frames import decode_frame, encode_jpegs, encode_whole
from vtrcli.store.reader import unit_rows
from vtrcli.video.graph import Keeping
from vtrcli.video.reader import FrameBatch, open_video
from vtrcli.video.sampling import Uniform

FRAMINGS = {
    "crop 224": Framing(height=224, width=224),
    "crop 336": Framing(height=336, width=336),
    "squash 384": Framing(height=384, width=384, resize="squash"),
}
QUALITIES = (80, 90, 95, 100)


def read(paths: list[Path], framing: Framing, num_frames: int, keeping: Keeping | None = None) -> FrameBatch:
    """All frames of all videos."""
    batches = []
    for path in paths:
        with open_video(path, Uniform(num_frames=num_frames), size=framing, keeping=keeping) as reader:
            batches += list(reader)
    return FrameBatch(
        np.concatenate([batch.pixels for batch in batches]),
        np.concatenate([batch.timestamps for batch in batches]),
        tuple(image for batch in batches for image in batch.kept),
    )


def whole(size: int) -> Keeping:
    """As an extraction keeps frames."""
    return Keeping(size=size, encode=encode_whole)


def lossy(image: bytes, quality: int) -> bytes:
    """The same picture as lossy WebP."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(image)) as picture:
        picture.save(buffer, "WEBP", quality=quality, method=0, xmp=picture.info["xmp"])
    return buffer.getvalue()


def processor_seconds(work: Callable[[], object]) -> float:
    """Of this program and its children."""

    def used() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before = used()
    work()
    return used() - before


def measure_time(paths: list[Path], num_frames: int, size: int, num_rounds: int) -> None:
    """Frames not kept, kept as older programs did (what the encoder saw), kept whole; the least of the rounds."""
    framing = FRAMINGS["crop 224"]
    ways: dict[str, Callable[[], object]] = {
        "not kept": lambda: read(paths, framing, num_frames),
        "as seen": lambda: encode_jpegs(read(paths, framing, num_frames).pixels),
        "whole": lambda: read(paths, framing, num_frames, whole(size)),
    }
    seconds = {name: min(processor_seconds(way) for _ in range(num_rounds)) for name, way in ways.items()}
    for name, each in seconds.items():
        print(
            f"{name:9} {1000 * each / len(paths):7.1f} ms per video, {each / seconds['not kept']:.2f} times"
        )


def measure_likeness(paths: list[Path], num_frames: int, size: int, backbones: list[str]) -> None:
    """Bytes and mean differences of pixels (of 255) per format and framing; cosines per backbone."""
    loaded = {name: load_backbone(name, device="cpu", towers="image") for name in backbones}
    framings: dict[str, Framing] = {**FRAMINGS, **{name: each.preprocessing for name, each in loaded.items()}}
    for label, framing in framings.items():
        frames = read(paths, framing, num_frames, whole(size))
        as_seen = np.mean([*map(len, encode_jpegs(frames.pixels))])
        print(f"{label}: {len(frames.pixels)} frames, as seen {as_seen:,.0f} bytes")
        formats = {"lossless": frames.kept}
        formats |= {
            f"quality {each}": tuple(lossy(image, each) for image in frames.kept) for each in QUALITIES
        }
        for name, images in formats.items():
            pixels = np.stack([decode_frame(image, size=framing) for image in images])
            apart = [np.abs(a.astype(float) - b).mean() for a, b in zip(pixels, frames.pixels, strict=True)]
            line = f"{np.mean([*map(len, images)]):9,.0f} bytes, apart {np.mean(apart):.2f} worst {np.max(apart):.2f}"
            if label in loaded:
                theirs, ours = (
                    unit_rows(loaded[label].encode_images(each)) for each in (frames.pixels, pixels)
                )
                cosines = (ours * theirs).sum(axis=1)
                line += f", cosine mean {cosines.mean():.5f} worst {cosines.min():.5f}"
            print(f"  {name:12} {line}")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", action="append", default=[])
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--keep-size", type=int, default=KEEP_SIZE)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    paths = [found.path for found in discover([options.folder]).candidates]
    measure_time(paths, options.frames, options.keep_size, options.rounds)
    measure_likeness(paths, options.frames, options.keep_size, options.backbone)


if __name__ == "__main__":
    main()
