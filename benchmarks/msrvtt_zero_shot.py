"""Zero-shot MSR-VTT 1k-A with any backbone, beside the number that was published for it.

    python benchmarks/msrvtt_zero_shot.py VIDEOS ANNOTATIONS [--backbone pe-core-b16] [--store pe.store] [--device auto]

VIDEOS holds the test split's video7010.mp4 ..., ANNOTATIONS MSRVTT_JSFUSION_test.csv. Eight frames, evenly spread,
pixels as they are stored, their mean as the video's vector, cosine: the protocol of PE-Core's own table
(perception_models, mean of 8 frames). Run again, it goes on where it stopped. `--allow-missing` evaluates with the
videos that are there, whose number is then no longer comparable. Videos of the training split are passed over.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import vtrcli as vtr
from vtrcli.errors import VtrError
from vtrcli.model.models import list_models
from vtrcli.store.reader import FeatureStore

NUM_FRAMES = 8


def main() -> None:
    """Extract, evaluate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--backbone", default="pe-core-b16")
    parser.add_argument("--store", type=Path, default=Path("msrvtt-zero-shot.store"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--allow-missing", action="store_true")
    options = parser.parse_args()
    try:
        measure(options)
    except VtrError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def measure(options: argparse.Namespace) -> None:
    """One line of ours, one of theirs."""
    with open(options.annotations / "MSRVTT_JSFUSION_test.csv", newline="", encoding="utf-8") as file:
        wanted = {row["video_id"] for row in csv.DictReader(file)}
    videos = sorted(path for path in options.videos.iterdir() if path.stem in wanted)
    done = vtr.extract(
        videos,
        options.store,
        backbone=options.backbone,
        frames=NUM_FRAMES,
        aspect="pixels",
        device=options.device,
        precision=options.precision,
    )
    for failure in done.failures:
        print(f"failed: {failure.path}: {failure.reason}: {failure.detail}", file=sys.stderr)
    result = vtr.evaluate(
        store=options.store,
        dataset="msrvtt-1ka",
        annotations=options.annotations,
        allow_missing=options.allow_missing,
        device=options.device,
    )
    ours = next(row for row in result.table() if row["direction"] == "t2v" and row["method"] == "none")
    there = FeatureStore(options.store)
    precisions = {at.record.precision for at in there.videos.values()}
    interval = (
        "{:.1f}-{:.1f}".format(*ours["R@1_ci95"]) if "R@1_ci95" in ours else ""
    )  # of a few none is told
    print(
        f"{there.config.backbone.name}, mean of {NUM_FRAMES} frames, {', '.join(map(str, precisions))}, "
        f"{len(there.videos):,} of {len(wanted):,} videos"
    )
    print(f"{'':10} {'R@1':>6} {'95 %':>12} {'R@5':>6} {'R@10':>6}")
    print(f"{'ours':10} {ours['R@1']:6.1f} {interval:>12} {ours['R@5']:6.1f} {ours['R@10']:6.1f}")
    entry = next((entry for entry in list_models() if entry.name == options.backbone), None)
    if entry is None or entry.published_r1 is None:
        print(f"no published number is known of {options.backbone} (vtr models list)")
    else:
        print(f"{'published':10} {entry.published_r1:6.1f}   {entry.source}")


if __name__ == "__main__":
    main()
