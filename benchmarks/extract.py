"""The whole extraction pipeline against its parts, and its peak memory.

    python benchmarks/extract.py speed      # decode alone, encode alone, both together (ViT-B/32, random weights)
    python benchmarks/extract.py parts      # processor time of each part, per short clip (--clips 100 --backbone demo)
    python benchmarks/extract.py content    # decoding with and without the SHA-256 of the whole file
    python benchmarks/extract.py memory     # peak memory for a 2-hour file and for 1,000 short ones

`speed` runs the three in turn, several rounds, on the same short clips; decode alone uses the same workers, encode
alone the same batches. The clips and the weights are made once below --work.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vtrcli.extraction.discover import discover
from vtrcli.extraction.extract import extract
from vtrcli.extraction.pipeline import DecodeSettings, Job, run_pipeline
from vtrcli.model.backbone import CPU_BATCH_SIZE, Backbone
from vtrcli.model.families import load_backbone
from vtrcli.model.frame_batches import FrameBatcher, HostLane, lanes_of
from vtrcli.store.records import file_content, file_state
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.probe import probe
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Rate, Uniform

NUM_CLIPS, CLIP_SECONDS, NUM_FRAMES = 16, 12, 12


def make_clip(path: Path, *, seconds: float, size: str = "320x240", hue: int = 0) -> Path:
    """A moving picture, H.264; kept if it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = f"testsrc2=size={size}:rate=25:duration={seconds},hue=h={hue}"
        command = [ffmpeg_binary(), "-v", "error", "-y", "-f", "lavfi", "-i", source, "-c:v", "libx264"]
        subprocess.run([*command, "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path)], check=True)
    return path


def make_weights(path: Path) -> Path:
    """ViT-B/32 with random weights; kept if it is there."""
    if not path.exists():
        import torch

        from vtrcli.model.clip.model import clip_model_module, save_converted

        torch.manual_seed(0)
        model = clip_model_module().CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12)
        save_converted(model.half(), path, name="ViT-B/32 random")
    return path


def measure_speed(work: Path, num_rounds: int, num_workers: int) -> None:
    """Print frames per second of the parts and of the whole, and their ratio."""
    clips = [
        make_clip(work / "clips" / f"{n}.mp4", seconds=CLIP_SECONDS, hue=20 * n) for n in range(NUM_CLIPS)
    ]
    jobs = [Job(path, path.stem, file_state(path)) for path in clips]
    backbone = load_backbone(str(make_weights(work / "b32.safetensors")), towers="image")
    settings = DecodeSettings(
        sampling=Uniform(num_frames=NUM_FRAMES),
        input_size=backbone.preprocessing,
        num_workers=num_workers,
        timeout_seconds=None,
        keep_size=None,
    )
    rows = {"decode alone": [], "encode alone": [], "together": []}  # type: dict[str, list[float]]
    for _ in range(num_rounds):
        rows["decode alone"].append(run_once(jobs, settings, None))
        rows["encode alone"].append(encode_alone(backbone, len(jobs) * NUM_FRAMES))
        rows["together"].append(run_once(jobs, settings, backbone))
    num_frames = len(jobs) * NUM_FRAMES
    medians = {name: statistics.median(values) for name, values in rows.items()}
    for name, seconds in medians.items():
        print(f"{name:14} {num_frames / seconds:7.1f} frames/s  ({seconds:.2f} s)")
    slower = max(medians["decode alone"], medians["encode alone"])
    both = medians["decode alone"] + medians["encode alone"]
    print(
        f"together / slower part: {medians['together'] / slower:.2f}; / sum of both: {medians['together'] / both:.2f}"
    )


def measure_parts(work: Path, num_clips: int, backbone_name: str | None) -> None:
    """Print the processor time that each part of an extraction takes per clip, of this process and of its children.

    The clips are 3 to 10 s of 320x240 and 640x360 in turn; sampling is the default.
    """
    folder = work / "short"
    for n in range(num_clips):
        size = ("320x240", "640x360")[n % 2]
        make_clip(folder / f"{n}.mp4", seconds=3 + n % 8, size=size, hue=7 * n)
    paths = sorted(folder.glob("*.mp4"))[:num_clips]
    name = backbone_name or str(make_weights(work / "b32.safetensors"))
    backbone = load_backbone(name, towers="image")
    frames: list[int] = []

    def decode() -> None:
        for path in paths:
            with open_video(path, Rate(), size=backbone.preprocessing) as reader:
                frames.append(sum(len(batch.pixels) for batch in reader))

    def whole() -> None:
        with tempfile.TemporaryDirectory() as store:
            extract(
                paths,
                store=Path(store, "s"),
                backbone=backbone_name or str(work / "b32.safetensors"),
                sampling=Rate(),
            )

    encode_alone(backbone, CPU_BATCH_SIZE)
    parts: dict[str, Callable[[], object]] = {
        "find": lambda: discover(paths),
        "state and first hash": lambda: [file_state(path) for path in paths],
        "hash of the whole file": lambda: [file_content(path) for path in paths],
        "probe": lambda: [probe(path) for path in paths],
        "probe and decode": decode,
        "product": lambda: encode_alone(backbone, sum(frames)),
        "all of it": whole,
    }
    for label, part in parts.items():
        before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        part()
        after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        own, children = (
            1000 * (b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime) / len(paths)
            for a, b in zip(before, after, strict=True)
        )
        print(f"{label:24} {own:8.2f} ms here, {children:8.2f} ms in children", flush=True)


def measure_content(work: Path, num_rounds: int, num_workers: int) -> None:
    """Print how much more processor time decoding takes when each file is also hashed; the encoder costs nothing here,
    which is the worst case. A job that knows its content is not hashed."""
    clips = [
        make_clip(work / "clips" / f"{n}.mp4", seconds=CLIP_SECONDS, hue=20 * n) for n in range(NUM_CLIPS)
    ]
    film = make_film(work / "film.mp4")
    cases = [
        ("short clips, 12 frames each", clips, Uniform(num_frames=NUM_FRAMES)),
        ("a film, a frame every 2 s", [film], Rate()),
        ("a film, 12 frames by seeks", [film], Uniform(num_frames=NUM_FRAMES)),
    ]
    for label, paths, sampling in cases:
        settings = DecodeSettings(
            sampling=sampling,
            input_size=224,
            num_workers=num_workers,
            timeout_seconds=None,
            keep_size=None,
        )
        ratios, num_bytes = [], sum(path.stat().st_size for path in paths)
        for _ in range(num_rounds):
            spent = []
            for known in ("known", None):
                jobs = [Job(path, path.stem, file_state(path), content=known) for path in paths]
                before = cpu_seconds()
                run_once(jobs, settings, None)
                spent.append(cpu_seconds() - before)
            without, with_hash = spent
            ratios.append(with_hash / without)
        print(f"{label}, {num_bytes / 1e6:.0f} MB: {statistics.median(ratios):.3f} times the processor time")


def cpu_seconds() -> float:
    """Processor time of this program and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def make_film(path: Path) -> Path:
    """Ten minutes of 720p at about 5 Mbit/s: one minute, over and over; kept if it is there."""
    if not path.exists():
        minute = path.with_name("minute.mp4")
        source = "testsrc2=size=1280x720:rate=25:duration=60,noise=alls=12:allf=t"
        command = [ffmpeg_binary(), "-v", "error", "-y", "-f", "lavfi", "-i", source, "-c:v", "libx264"]
        command += [
            "-preset",
            "ultrafast",
            "-b:v",
            "5M",
            "-maxrate",
            "5M",
            "-bufsize",
            "5M",
            "-pix_fmt",
            "yuv420p",
        ]
        subprocess.run([*command, str(minute)], check=True)
        loop = [ffmpeg_binary(), "-v", "error", "-y", "-stream_loop", "9", "-i", str(minute), "-c", "copy"]
        subprocess.run([*loop, str(path)], check=True)
    return path


def run_once(jobs: list[Job], settings: DecodeSettings, backbone: Backbone | None) -> float:
    """Seconds of the pipeline; without a backbone the encoder costs nothing."""

    def nothing(pixels: np.ndarray) -> np.ndarray:
        return np.zeros((len(pixels), 1), np.float32)

    encode = backbone.encode_images if backbone else nothing
    lane = HostLane(encode, batch_size=CPU_BATCH_SIZE, input_size=settings.input_size)
    started = time.perf_counter()
    for _ in run_pipeline(jobs, lanes=[lane], settings=settings):
        pass
    return time.perf_counter() - started


def encode_alone(backbone: Backbone, num_frames: int) -> float:
    """Seconds for the same number of frames that are in memory already."""
    size = backbone.preprocessing
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, *size.shape), np.uint8)
    batcher = FrameBatcher(lanes_of(backbone, batch_size=CPU_BATCH_SIZE))
    started = time.perf_counter()
    batcher.push(0, frames)
    batcher.flush()
    return time.perf_counter() - started


def measure_memory(work: Path) -> None:
    """Print the peak memory of this program and of its largest child, each case in a process of its own."""
    make_clip(work / "long" / "two-hours.mp4", seconds=7200)
    first = make_clip(work / "many" / "0.mp4", seconds=2)
    for number in range(1, 1000):
        path = work / "many" / f"{number}.mp4"
        if not path.exists():  # a different size each, so that no file is another's copy
            path.write_bytes(first.read_bytes() + b"\0\0\0\x08free" * number)
    for name in ("long", "many"):
        subprocess.run([sys.executable, __file__, "one", "--work", str(work), "--case", name], check=True)


def measure_one(work: Path, case: str) -> None:
    """Extract one folder with the demo's encoder and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        result = extract(
            [work / case], store=Path(folder, "store"), backbone="demo", sampling=Rate(), device="cpu"
        )
    own, children = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    num_videos = result.num_extracted + result.num_copied
    print(
        f"{case}: {num_videos} videos, {result.num_frames} frames, {result.seconds:.0f} s, "
        f"peak {own:.0f} MB, largest ffmpeg {children:.0f} MB"
    )


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "parts", "content", "memory", "one"])
    parser.add_argument("--work", type=Path, help="folder for clips and weights (kept)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--case", default="many")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--backbone", help="of `parts`; default: ViT-B/32 with random weights")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    try:
        if options.what == "speed":
            measure_speed(work, options.rounds, options.workers)
        elif options.what == "parts":
            measure_parts(work, options.clips, options.backbone)
        elif options.what == "content":
            measure_content(work, options.rounds, options.workers)
        elif options.what == "memory":
            measure_memory(work)
        else:
            measure_one(work, options.case)
    finally:
        if options.work is None:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
