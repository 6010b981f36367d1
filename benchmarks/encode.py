"""How fast the backbone is: frames per second, texts per second, seconds to load.

    python benchmarks/encode.py [--backbone NAME] [--rounds 5]

Without --backbone, ViT-B/32 with random weights (speed does not depend on their values). The yardstick for frames
is a plain loop over CLIP's own forward in float32, as clip-anytorch runs it on a CPU; both take turns in one run, on
the same frames, and the median of the rounds counts. With a CUDA device everything is measured there too.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtrcli.model.backbone import Backbone, Precision, normalised_pixels
from vtrcli.model.clip.converted import ClipConfig
from vtrcli.model.clip.model import ClipBackbone, clip_model_module, pad_tokens, save_converted
from vtrcli.model.clip.tokens import tokenize
from vtrcli.model.families import load_backbone

VIT_B32 = ClipConfig(
    embed_dim=512,
    image_resolution=224,
    vision_layers=12,
    vision_width=768,
    vision_patch_size=32,
    context_length=77,
    vocab_size=49408,
    transformer_width=512,
    transformer_heads=8,
    transformer_layers=12,
)
PLAIN_BATCH_SIZE = 16
QUERY = "a man cooking"
_LOAD = """
import sys, time
from vtrcli.model.clip import model  # torch is not what is measured
from vtrcli.model.families import load_backbone

def resident():
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(fields["VmRSS"].split()[0]) / 1024

before, started = resident(), time.perf_counter()
backbone = load_backbone(sys.argv[1], device="cpu", towers=sys.argv[2])
loaded = time.perf_counter()
backbone.encode_texts(["a man cooking"])
print(f"{loaded - started:.3f} {time.perf_counter() - loaded:.3f} {resident() - before:.0f}")
"""


def main() -> None:
    """Run all sections and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", help="default: ViT-B/32 with random weights")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        name = options.backbone or str(random_weights(Path(folder) / "random.safetensors"))
        print(
            f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.backbone or 'ViT-B/32, random'}"
        )
        for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
            measure_frames(name, device=device, num_rounds=options.rounds)
            measure_texts(name, device=device, num_rounds=options.rounds)
        if sys.platform == "linux":
            measure_loading(name)


def random_weights(path: Path) -> Path:
    """ViT-B/32 with clip's own initialisation, in the precision OpenAI publishes."""
    torch.manual_seed(0)
    model = clip_model_module().CLIP(**asdict(VIT_B32))
    clip_model_module().convert_weights(model)
    return save_converted(model, path, name="ViT-B/32, random")


def measure_frames(name: str, *, device: str, num_rounds: int) -> None:
    """Frames per second of ours at several batch sizes against the plain loop."""
    ours = load_backbone(name, device=device)
    plain = load_backbone(name, device=device, precision="float32")
    assert isinstance(plain, ClipBackbone)
    height, width, _ = ours.preprocessing.shape
    batch_sizes = (8, 16, 32) if device == "cpu" else (24, 64, 256, 1024)
    num_frames = max(batch_sizes)
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    pixels = normalised_pixels(frames, ours.preprocessing, device=device)

    def plain_loop() -> np.ndarray:
        with torch.no_grad():
            return (
                torch.cat([plain.model.encode_image(part) for part in torch.split(pixels, PLAIN_BATCH_SIZE)])
                .cpu()
                .numpy()
            )

    runs: dict[str, Callable[[], np.ndarray]] = {f"plain loop, float32, batch {PLAIN_BATCH_SIZE}": plain_loop}
    for batch_size in batch_sizes:
        runs[f"vtr, {ours.precision}, batch {batch_size}"] = in_batches(ours, frames, batch_size)
    seconds = alternate(runs, num_rounds=num_rounds)
    print(f"\n{device}: frames per second ({num_frames} frames)")
    base = next(iter(seconds.values()))
    for label, each in seconds.items():
        print(f"  {label:36} {num_frames / each:8.1f}   {base / each:.2f} x")
    print(f"  lowest cosine to float32: {lowest_cosine(plain_loop(), ours.encode_images(frames)):.5f}")


def in_batches(backbone: Backbone, frames: np.ndarray, batch_size: int) -> Callable[[], np.ndarray]:
    """A run over all frames, batch by batch."""
    starts = range(0, len(frames), batch_size)
    return lambda: np.concatenate(
        [backbone.encode_images(frames[start : start + batch_size]) for start in starts]
    )


def measure_texts(name: str, *, device: str, num_rounds: int) -> None:
    """One short query cut to its length and at all 77 positions, and a batch of captions."""
    captions = [f"a man is cooking {number} eggs in a large kitchen" for number in range(64)]
    print(f"\n{device}: texts")
    precisions: tuple[Precision, ...] = ("float32", "float16" if device == "cuda" else "bfloat16")
    for precision in precisions:
        backbone = load_backbone(name, device=device, precision=precision, towers="text")
        assert isinstance(backbone, ClipBackbone)
        tokens = pad_tokens([tokenize(QUERY, context_length=77)[0]])
        full = torch.nn.functional.pad(tokens, (0, 77 - tokens.shape[1])).to(device)

        def all_positions(model: Any = backbone.model, full: torch.Tensor = full) -> np.ndarray:
            with torch.no_grad():
                return model.encode_text(full).float().cpu().numpy()  # type: ignore[no-any-return]

        runs: dict[str, Callable[[], np.ndarray]] = {
            "query, 77 positions": all_positions,
            "query, cut": lambda backbone=backbone: backbone.encode_texts([QUERY]).features,  # type: ignore[misc]
            "64 captions, cut": lambda backbone=backbone: backbone.encode_texts(captions).features,  # type: ignore[misc]
        }
        for label, each in alternate(runs, num_rounds=num_rounds).items():
            print(f"  {backbone.precision:9} {label:22} {each * 1000:8.1f} ms")
        short, long = runs["query, cut"](), all_positions()
        difference = np.abs(short - long).max() / np.linalg.norm(long)
        print(f"  {backbone.precision:9} largest difference of cut to 77, of unit length: {difference:.1e}")


def measure_loading(name: str) -> None:
    """Seconds and resident memory of a fresh process that loads one tower or both; torch is imported before."""
    print("\nloading on the CPU (best of 3 fresh processes)")
    for towers in ("text", "both"):
        command = [sys.executable, "-c", _LOAD, name, towers]
        lines = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(3)]
        load, query, megabytes = min(tuple(map(float, line.split())) for line in lines)
        print(
            f"  {towers:5} load {load:.3f} s, then tokenizer and first query {query:.3f} s, +{megabytes:.0f} MB"
        )


def alternate(runs: dict[str, Callable[[], Any]], *, num_rounds: int) -> dict[str, float]:
    """Median seconds of each run; they take turns, after one round that does not count."""
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for number in range(num_rounds + 1):
        for label, run in runs.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[label].append(time.perf_counter() - started)
    return {label: statistics.median(each) for label, each in seconds.items()}


def lowest_cosine(expected: np.ndarray, found: np.ndarray) -> float:
    """The worst row of two feature tables."""
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    return float(((expected * found).sum(axis=1) / norms).min())


if __name__ == "__main__":
    main()
