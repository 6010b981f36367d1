"""Memory and time of one DSL step over 128 pairs by gradient caching, on a CPU: `vtr train --finetune --chunk-size`.

    python benchmarks/gradient_cache.py          # a process per chunk size, under a minute

A CLIP of four layers with random weights, 4 frames of 96 pixels a pair. "MiB more" is what the process grew by in the
step; chunk 128 is the whole batch at once.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace

import torch
from finetune import TINY, Size, Trainer
from gpu_steps import DSL_TEMPERATURE, large_batch

from vtrcli.model.train_settings import TrainSettings
from vtrcli.training.gradient_cache import backward_in_chunks
from vtrcli.training.step import World

NUM_PAIRS, CHUNKS = 128, (128, 32, 8)


def measure(chunk_size: int) -> None:
    """Print one row, measured in this process alone."""
    torch.set_num_threads(1)
    shape = {"vision_width": 128, "transformer_width": 128, "transformer_heads": 2}
    clip = replace(TINY, image_resolution=96, vision_layers=4, vision_patch_size=16, **shape)
    size = Size(clip, NUM_PAIRS, 4, 1)
    settings = TrainSettings(batch_size=NUM_PAIRS, num_frames=4, finetune=True, precision="float32")
    trainer, batch = Trainer(size, settings, "cpu"), large_batch(size, pin_memory=False)
    before = resource.getrusage(resource.RUSAGE_SELF)
    loss = backward_in_chunks(
        trainer.encoder,
        trainer.encoder.head,
        batch,
        chunk_size=chunk_size,
        device="cpu",
        world=World(),
        dsl_temperature=DSL_TEMPERATURE,
    )
    after = resource.getrusage(resource.RUSAGE_SELF)
    mebibytes = (after.ru_maxrss - before.ru_maxrss) / 1024
    seconds = after.ru_utime - before.ru_utime
    print(f"{chunk_size:>5}  {mebibytes:>8.0f}  {seconds:>17.2f}  {float(loss):.6f}", flush=True)


def main() -> None:
    """All chunk sizes, each in a process of its own."""
    print("chunk  MiB more  processor seconds  loss", flush=True)
    for chunk_size in CHUNKS:
        subprocess.run([sys.executable, __file__, str(chunk_size)], check=True)


if __name__ == "__main__":
    measure(int(sys.argv[1])) if sys.argv[1:] else main()
