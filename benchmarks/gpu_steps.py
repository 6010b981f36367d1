"""The steps of benchmarks/gpu.py: `gpu_steps.py STEP WORK OUT DEVICE [tiny]` writes a JSON line per row at once."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extract import make_clip
from finetune import TINY, VIT_B_32, Size, Trainer, make_frames, operations, tower

from vtrcli.extraction.pipeline import DecodeSettings, Job, run_pipeline
from vtrcli.model.backbone import DEMO_NAME, Precision
from vtrcli.model.families import family_of, load_backbone
from vtrcli.model.frame_batches import FrameBatcher, HostLane, Lane, lanes_of
from vtrcli.model.train_settings import TrainSettings
from vtrcli.searching.scores import products
from vtrcli.store.records import file_state
from vtrcli.training.finetune import FrameBatches
from vtrcli.training.gradient_cache import backward_in_chunks
from vtrcli.training.step import PairBatch, World, autocast
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.hardware import trouble
from vtrcli.video.sampling import Rate, Uniform

# Of the image towers: layers, width, pixels of a patch's side and of a picture's, dimensions of a feature.
TOWERS = {
    "ViT-B/32": (12, 768, 32, 224, 512),
    "ViT-B/16": (12, 768, 16, 224, 512),
    "ViT-L/14": (24, 1024, 14, 224, 768),
    "siglip2-b16": (12, 768, 16, 224, 768),
}
TINY_TOWERS = {DEMO_NAME: (2, 64, 8, 32, 32)}
FRAMES, DSL_TEMPERATURE, DIM = 12, 100.0, 512
PRECISIONS: tuple[Precision, ...] = ("float16", "bfloat16", "float32")


class Bench:
    """Where one step measures, and where its rows go."""

    def __init__(self, work: Path, out: Path, device: str, *, is_tiny: bool) -> None:
        self.work, self.device, self.is_tiny = work, device, is_tiny
        self._out = out
        self._rates: dict[torch.dtype, float] = {}

    def row(
        self,
        what: str,
        rate: float | None,
        unit: str,
        *,
        share: float | None = None,
        of: str = "",
        note: str = "",
    ) -> None:
        """One line of the table, kept at once. `rate`: None for what could not be measured."""
        body = {"what": what, "rate": rate, "unit": unit, "share": share, "of": of, "note": note}
        with self._out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(body) + "\n")

    def wait(self) -> None:
        """Until the device has done all that it was asked to."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], *, budget: float, least: int = 3) -> float:
        """The median of one call, waited for, after two that do not count; for about `budget` seconds."""
        budget = 0.05 if self.is_tiny else budget
        for _ in range(2):
            work()
        self.wait()
        found: list[float] = []
        end = time.perf_counter() + budget
        while len(found) < least or (time.perf_counter() < end and len(found) < 200):
            before = time.perf_counter()
            work()
            self.wait()
            found.append(time.perf_counter() - before)
        return statistics.median(found)

    def product_rate(self, dtype: torch.dtype) -> float:
        """Operations a second of a large product in a number format: what the chip is compared with."""
        if dtype not in self._rates:
            edge = 256 if self.is_tiny else 8192
            left, right = (torch.randn(edge, edge, device=self.device).to(dtype) for _ in range(2))
            self._rates[dtype] = 2.0 * edge**3 / self.seconds(lambda: left @ right, budget=1.0)
            name = str(dtype).removeprefix("torch.")
            self.row(f"product {edge} x {edge}, {name}", self._rates[dtype] / 1e12, "TFLOP/s")
        return self._rates[dtype]

    def weights(self, name: str) -> str:
        """A backbone of a published architecture with random weights, made once."""
        if name == DEMO_NAME:
            return name
        folder = self.work / name.replace("/", "-")
        kept = folder / "name.txt"
        if not kept.exists():
            folder.mkdir(parents=True, exist_ok=True)
            made = family_of(name).write_random(name, folder / "weights")
            kept.write_text(str(made), encoding="utf-8")
        return kept.read_text(encoding="utf-8")


def encode(bench: Bench) -> None:
    """Frames that lie on the device, through each tower."""
    for name, (layers, width, patch, edge, dim) in (TINY_TOWERS if bench.is_tiny else TOWERS).items():
        tokens = (edge // patch) ** 2
        per_frame = tower(layers, width, tokens + 1, dim) + 2.0 * 3 * patch**2 * width * tokens
        path = bench.weights(name)
        for precision in PRECISIONS:
            backbone = load_backbone(path, device=bench.device, precision=precision, towers="image")
            rate = bench.product_rate(getattr(torch, precision))
            sizes = (2, 4) if bench.is_tiny else (256,) if precision == "float32" else (64, 256, 1024)
            for batch_size in sizes:
                shape = (batch_size, *backbone.preprocessing.shape)
                pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=bench.device)
                work = partial(backbone.encode_pixels, pixels)
                frames = batch_size / bench.seconds(work, budget=0.6)
                share = frames * per_frame / rate
                what = f"{name}, {precision}, batches of {batch_size}"
                bench.row(what, frames, "frames/s", share=share, of="the product")


def extract(bench: Bench) -> None:
    """Batches that overlap with filling and copying beside batches that wait, in turns."""
    name = DEMO_NAME if bench.is_tiny else "ViT-B/32"
    backbone = load_backbone(bench.weights(name), device=bench.device, towers="image")
    batch_size = 4 if bench.is_tiny else 256
    waiting: Sequence[Lane] = [
        HostLane(backbone.encode_images, batch_size=batch_size, input_size=backbone.preprocessing)
    ]
    ways = {"batches that wait": waiting, "batches that overlap": lanes_of(backbone, batch_size=batch_size)}
    frames = np.zeros(
        (batch_size * (2 if bench.is_tiny else 32) + 1, *backbone.preprocessing.shape), np.uint8
    )

    def in_memory(lanes: Sequence[Lane]) -> int:
        batcher = FrameBatcher(lanes)
        for start in range(0, len(frames), FRAMES):
            batcher.push(0, frames[start : start + FRAMES])
        batcher.flush()
        return len(frames)

    in_turns(bench, "in memory,", {way: partial(in_memory, lanes) for way, lanes in ways.items()})
    jobs = make_jobs(bench, num_clips=2 if bench.is_tiny else 16, times=1 if bench.is_tiny else 12)
    settings = DecodeSettings(
        sampling=Uniform(num_frames=FRAMES),
        input_size=backbone.preprocessing,
        num_workers=4 if bench.is_tiny else 16,
        timeout_seconds=None,
        keep_size=None,
    )
    nothing: Sequence[Lane] = [
        HostLane(
            lambda pixels: np.zeros((len(pixels), 1), np.float32),
            batch_size=batch_size,
            input_size=backbone.preprocessing,
        )
    ]

    def from_clips(lanes: Sequence[Lane]) -> int:
        done = list(run_pipeline(jobs, lanes=lanes, settings=settings))
        return sum(len(getattr(video, "features", ())) for video in done)

    clips = {way: partial(from_clips, lanes) for way, lanes in {"decoded alone": nothing, **ways}.items()}
    in_turns(bench, "from clips of 12 s,", clips)
    decode_on_card(bench, settings, nothing)


def decode_on_card(bench: Bench, settings: DecodeSettings, lanes: Sequence[Lane]) -> None:
    """Two minutes of 1080p eight times, every half second a frame, by the processor and by the card."""
    length, size = (1, "320x240") if bench.is_tiny else (120, "1920x1080")
    path = make_clip(bench.work / "clips" / "film.mp4", seconds=length, size=size)
    jobs = [Job(path, f"film-{number}", file_state(path)) for number in range(1 if bench.is_tiny else 8)]
    every = replace(settings, sampling=Rate(fps=2.0, min_frames=1))
    why = trouble(ffmpeg_binary(), 0)
    left: set[str] = set()

    def through(settings: DecodeSettings) -> int:
        videos = list(run_pipeline(jobs, lanes=lanes, settings=settings))
        left.update(str(getattr(video, "left_to_cpu", None)) for video in videos)
        return sum(len(getattr(video, "features", ())) for video in videos)

    ways = {"by the processor": partial(through, every)}
    if why is None:
        ways["by the card"] = partial(through, replace(every, gpu=0))
    in_turns(bench, f"{size}, decoded", ways)
    said = why or ", ".join(sorted(left - {"None"}))
    if said:
        bench.row(f"{size}, decoded by the card", None, "frames/s", note=f"not measured: {said}")


def in_turns(bench: Bench, what: str, ways: Mapping[str, Callable[[], int]]) -> None:
    """Frames a second of each way, the median of three turns after one that does not count; ratios to the first."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(2 if bench.is_tiny else 4):
        for way, work in ways.items():
            before = time.perf_counter()
            frames = work()
            bench.wait()
            if turn:
                found[way].append(frames / (time.perf_counter() - before))
    first = next(iter(found))
    for way, rates in found.items():
        ratios = [one / other for one, other in zip(rates, found[first], strict=True)]
        note = "" if way == first else f"{statistics.median(ratios):.3g} times {first!r}"
        bench.row(f"{what} {way}", statistics.median(rates), "frames/s", note=note)


def make_jobs(bench: Bench, *, num_clips: int, times: int) -> list[Job]:
    """Clips of 12 s, each of them several times under other names."""
    paths = [
        make_clip(bench.work / "clips" / f"{number}.mp4", seconds=12, hue=20 * number)
        for number in range(num_clips)
    ]
    return [Job(path, f"{number}-{path.stem}", file_state(path)) for number in range(times) for path in paths]


def finetune(bench: Bench) -> None:
    """The step of `vtr train --finetune`, and with reading kept frames beside it."""
    size = Size(TINY, 4, 2, 3) if bench.is_tiny else Size(VIT_B_32, 128, FRAMES, 4)
    settings = TrainSettings(
        batch_size=size.batch_size, num_frames=size.num_frames, captions="all", finetune=True
    )
    on_gpu = bench.device.startswith("cuda")
    rate = bench.product_rate(torch.bfloat16 if on_gpu else torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        source = FrameBatches(make_frames(Path(folder), size), settings, World(), pin_memory=on_gpu)
        trainer = Trainer(size, settings, bench.device)
        batch = next(source.batches(0, 0))
        work, resident = operations(size, batch.texts), batch.to(bench.device)
        trainer.timed(itertools.repeat(resident, 3))
        count = 2 if bench.is_tiny else 12
        step = statistics.median(trainer.timed(itertools.repeat(resident, count)))
        reading = statistics.median(trainer.timed(source.batches(1, 0))[1:])
    for label, seconds in (("step", step), ("with reading", reading)):
        what = f"{size.batch_size} pairs x {size.num_frames} frames, {label}"
        share = work / seconds / rate
        bench.row(what, size.batch_size / seconds, "pairs/s", share=share, of="the product", note=peak(bench))


def cached(bench: Bench) -> None:
    """DSL over the whole of a batch that no card holds, by gradient caching."""
    num_pairs, chunks = (8, (2, 4)) if bench.is_tiny else (4096, (64, 128))
    size = Size(TINY, num_pairs, 2, 1) if bench.is_tiny else Size(VIT_B_32, num_pairs, FRAMES, 1)
    settings = TrainSettings(batch_size=num_pairs, num_frames=size.num_frames, finetune=True)
    on_gpu = bench.device.startswith("cuda")
    rate = bench.product_rate(torch.bfloat16 if on_gpu else torch.float32)
    trainer, batch = Trainer(size, settings, bench.device), large_batch(size, pin_memory=on_gpu)
    # Forward twice and backward, which counts as two more: four thirds of what a plain step computes.
    work = operations(size, batch.texts) * 4 / 3
    for chunk_size in chunks:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()

        def step(chunk_size: int = chunk_size) -> None:
            trainer.optimizer.zero_grad(set_to_none=True)
            loss = backward_in_chunks(
                trainer.encoder,
                trainer.encoder.head,
                batch,
                chunk_size=chunk_size,
                device=bench.device,
                world=World(),
                dsl_temperature=DSL_TEMPERATURE,
                number_format=partial(autocast, settings, bench.device),
            )
            torch.nn.utils.clip_grad_norm_(trainer.encoder.parameters(), 1.0)
            trainer.optimizer.step()
            loss.item()

        before = time.perf_counter()
        step()
        bench.wait()
        first = time.perf_counter() - before
        seconds = first if first > 15 else bench.seconds(step, budget=10, least=1)
        what = f"DSL over {num_pairs:,} pairs, chunks of {chunk_size}"
        share = work / seconds / rate
        bench.row(what, num_pairs / seconds, "pairs/s", share=share, of="the product", note=peak(bench))


def large_batch(size: Size, *, pin_memory: bool) -> PairBatch:
    """One batch in the host's memory: frames of noise, captions of 20 tokens."""
    edge, count = size.clip.image_resolution, size.batch_size
    frames = torch.empty((count, size.num_frames, edge, edge, 3), dtype=torch.uint8, pin_memory=pin_memory)
    noise = torch.randint(0, 256, (1, *frames.shape[1:]), dtype=torch.uint8)
    frames.copy_(noise.expand_as(frames))
    tokens = torch.randint(1, 40_000, (count, 3, 20))
    tokens[:, :, -1] = 49_407
    return PairBatch(
        frames,
        torch.ones(frames.shape[:2], dtype=torch.bool),
        tokens,
        torch.ones(tokens.shape[:2], dtype=torch.bool),
        torch.arange(count),
    )


def peak(bench: Bench) -> str:
    """The most memory of the device that torch has taken."""
    if not bench.device.startswith("cuda"):
        return ""
    return f"{torch.cuda.max_memory_allocated(bench.device) / 2**30:.1f} GiB"


def scan(bench: Bench) -> None:
    """One query against all frames of a store, and the best hundred; beside vtr's own scan on the CPU."""
    num_rows = 20_000 if bench.is_tiny else 1_000_000
    rows = np.random.default_rng(0).standard_normal((num_rows, DIM), np.float32)
    half = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    query = half[num_rows // 2].astype(np.float32)
    expected = products([half], query)
    cpu = min(timed(lambda: products([half], query)) for _ in range(5))
    bench.row("vtr search's scan, CPU", half.nbytes / cpu / 1e9, "GB/s", note=f"{1e3 * cpu:.3g} ms")
    there = torch.from_numpy(half).to(bench.device)
    beside = torch.empty_like(there)
    copying = bench.seconds(lambda: beside.copy_(there), budget=1.0)
    memory = 2 * half.nbytes / copying
    bench.row("memory read and written by a copy", memory / 1e9, "GB/s")
    for count in (1, 16):
        asked = there[num_rows // 2 : num_rows // 2 + count]
        found = (there @ asked.T).float()
        if not np.allclose(found[:, 0].cpu().numpy(), expected, atol=2e-3):
            raise SystemExit("the device's products differ from the CPU's")
        seconds = bench.seconds(lambda asked=asked: (there @ asked.T).topk(100, dim=0), budget=1.0)  # type: ignore[misc]
        note, share = f"{1e3 * seconds:.3g} ms", half.nbytes / seconds / memory
        what = f"product and best 100, {count} {'query' if count == 1 else 'queries'}"
        bench.row(what, half.nbytes / seconds / 1e9, "GB/s", share=share, of="the copy's rate", note=note)


def timed(work: Callable[[], Any]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


STEPS = {"encode": encode, "extract": extract, "finetune": finetune, "cached": cached, "scan": scan}

if __name__ == "__main__":
    step, work, out, device, *more = sys.argv[1:]
    if more == ["tiny"]:
        torch.set_num_threads(1)
    STEPS[step](Bench(Path(work), Path(out), device, is_tiny=more == ["tiny"]))
