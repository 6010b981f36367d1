"""`vtr extract`: decode frames and cache their features in one pass."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from vtrcli.api import extract
from vtrcli.cli import options
from vtrcli.cli.options import arg, flag, opt
from vtrcli.cli.output import (
    ProgressBar,
    anchored,
    byte_size,
    count,
    download_progress,
    home_relative,
    model_name,
    print_json,
    print_line,
    say,
    say_absent,
)
from vtrcli.errors import EXIT_SOME_FAILED, UsageError
from vtrcli.files import is_gone
from vtrcli.model.families import DEFAULT_BACKBONE
from vtrcli.preprocessing import KEEP_SIZE
from vtrcli.text_files import path_list
from vtrcli.times import clock

if TYPE_CHECKING:
    from vtrcli.extraction.extract import Announcement, ExtractResult, Progress

NAME = "extract"
EPILOG = "Example: [bold]vtr extract ~/Videos --store kitchen.store --frames 12[/bold]"
MAX_SHOWN_FAILURES = 10
MAX_TIMEOUT_SECONDS = 7 * 24 * 3600


def command(
    videos: list[Path] | None = arg(
        "PATH",
        "Files, folders (searched below), or - for a list on stdin. "
        "Without any: VTR_VIDEOS, several with : between them (; on Windows).",
        default=None,
    ),
    store: Path = options.STORE,
    backbone: str | None = opt(
        "--backbone", options.BACKBONE_HELP, shown=f"the store's, else {DEFAULT_BACKBONE}"
    ),
    fps: float | None = opt("--fps", "Frames per second of video.", min=0.001, shown="the store's, else 0.5"),
    min_frames: int | None = opt(
        "--min-frames", "At least so many, evenly spread.", min=1, shown="the store's, else 12"
    ),
    frames: int | None = opt("--frames", "Exactly so many, evenly spread, instead of a rate.", min=1),
    keyframes: bool = flag("--keyframes", "The key frames instead: fastest, uneven."),
    max_frames: int | None = opt("--max-frames", "Thin longer videos to so many frames.", min=1),
    keep_frames: bool = flag(
        "--keep-frames", "Keep the frames: for thumbnails, fine-tuning, other backbones (vtr cache)."
    ),
    keep_size: int = opt(
        "--keep-size", "Short side of kept frames in pixels.", default=KEEP_SIZE, min=16, max=1080
    ),
    renew_frames: bool = flag(
        "--renew-frames", "Keep them, also of stored videos whose frames an older vtr cut, or kept smaller."
    ),
    aspect: Literal["display", "pixels"] | None = opt(
        "--aspect",
        "Pixels made square, as players show them, or as they are stored, as benchmarks' pipelines take them.",
        shown="the store's, else display",
    ),
    similar_frames: float | None = opt(
        "--similar-frames BOUND",
        "A frame that differs by at most BOUND (of 255) from the one encoded last gets its feature.",
        min=0,
        max=255,
        shown="the store's, else 0: equal ones alone",
    ),
    workers: int | None = opt("--workers", "Decoders at a time.", min=1, shown="one per core"),
    batch_size: int | None = opt("--batch-size", "Frames per step of the encoder.", min=1, shown="by device"),
    device: str = options.DEVICE,
    decode_on: Literal["cpu", "gpu"] = opt(
        "--decode-on", "gpu: an NVIDIA card decodes H.264, HEVC, VP8 and VP9: for long videos.", default="cpu"
    ),
    precision: options.Precision = opt(
        "--precision",
        "auto, float32, or half of it: float16, bfloat16.",
        default="auto",
        shown="the store's, else by device and backbone",
    ),
    timeout: float | None = opt(
        "--timeout", "Seconds per video.", min=0.1, max=MAX_TIMEOUT_SECONDS, shown="60 + twice its length"
    ),
    retry_failed: bool = flag("--retry-failed", "Try again what failed before."),
    exclude: list[str] | None = opt(
        "--exclude GLOB", "Pass over such files or folders: '*.gif', raw, 'raw/*.mov'; may be repeated."
    ),
    part: str | None = opt(
        "--part N/OF", "Only these of the files: run 1/16 to 16/16 on as many machines, into one store."
    ),
    ray: str | None = opt(
        "--ray ADDRESS",
        "Let a Ray cluster do the work: auto, HOST:PORT, or local for one of this machine.",
    ),
    prune: bool = flag("--prune", "Take videos whose files are gone from PATH out of the store."),
    watch: bool = flag("--watch", "Go on: extract what is added or changed, until Ctrl-C."),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Decode frames of videos and store their CLIP features. Run it again: only new or changed files are done."""
    from vtrcli.extraction.discover import Part

    own_part = None if part is None else Part.parse(part)
    paths, is_list = input_paths(videos)
    quiet_progress = quiet or (json_output and not sys.stderr.isatty())

    def run_once(
        *, retry_failed: bool, may_be_empty: bool = False, not_yet: Collection[Path] = ()
    ) -> ExtractResult:
        with ProgressBar(unit="videos", quiet=quiet_progress) as bar:
            return extract(
                paths,
                store,
                backbone=backbone,
                fps=fps,
                min_frames=min_frames,
                frames=frames,
                keyframes=keyframes,
                max_frames=max_frames,
                aspect=aspect,
                similar_frames=similar_frames,
                prune=prune,
                device=device,
                decode_on=decode_on,
                precision=precision,
                keep_frames=keep_frames,
                keep_size=keep_size,
                renew_frames=renew_frames,
                num_workers=workers,
                batch_size=batch_size,
                timeout_seconds=timeout,
                retry_failed=retry_failed,
                must_exist=not is_list,
                may_be_empty=may_be_empty,
                exclude=[anchored(pattern) for pattern in exclude or ()],
                not_yet=not_yet,
                part=own_part,
                ray=ray,
                on_download=download_progress(quiet=quiet_progress),
                on_plan=lambda plan: announce(plan, bar, quiet=quiet_progress),
                on_progress=lambda progress: advance(progress, bar),
            )

    if watch and is_list:
        raise UsageError(
            "--watch with a list on stdin", allowed="files and folders", to_do="name the folder to watch"
        )
    result = run_once(retry_failed=retry_failed, may_be_empty=watch)
    show_result(result, json_output=json_output, quiet=quiet)
    if watch:
        keep_watching(
            paths,
            store,
            result,
            lambda not_yet: run_once(retry_failed=False, may_be_empty=True, not_yet=not_yet),
            json_output=json_output,
            quiet=quiet,
        )
    elif result.new_failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def keep_watching(
    paths: list[Path],
    store: Path,
    first: ExtractResult,
    run_once: Callable[[Collection[Path]], ExtractResult],
    *,
    json_output: bool,
    quiet: bool,
) -> None:
    """Extract again after each burst of changes, until Ctrl-C; what changed nothing in the store is not told."""
    from vtrcli.extraction.watch import settled_changes

    say(f"watching {', '.join(map(str, paths))}; Ctrl-C ends it", quiet=quiet)
    told_failures = {failure.path for failure in first.failures}
    try:
        for changes in settled_changes(paths, store=store):
            result = run_once(changes.unsettled)
            # what was deleted before it could be read is no failure
            result.failures = [failure for failure in result.failures if not is_gone(failure.path)]
            failed = {failure.path for failure in result.failures}
            if result.num_extracted or result.num_copied or failed - told_failures:
                result.failures = [
                    failure for failure in result.failures if failure.path not in told_failures
                ]
                show_result(result, json_output=json_output, quiet=quiet)
            told_failures = failed
    except KeyboardInterrupt:
        say("no longer watching", quiet=quiet)


def show_result(result: ExtractResult, *, json_output: bool, quiet: bool) -> None:
    """One JSON object, or one line."""
    if json_output:
        print_json(NAME, result.to_json())
        sys.stdout.flush()
    else:
        print_result(result, quiet=quiet)


def input_paths(videos: list[Path] | None) -> tuple[list[Path], bool]:
    """The paths to extract, and whether they come from stdin.

    Raises:
        UsageError: none was given.
        InputError: the list on stdin is no text.
    """
    if not videos:
        raise UsageError(
            "no video was named",
            allowed="files, folders, or - for a list on stdin",
            to_do="run `vtr extract FOLDER`, or set `videos` in vtr.toml (`vtr init --videos FOLDER`)",
        )
    if videos == [Path("-")]:
        paths = path_list(sys.stdin.buffer.read(), name="the list on stdin")
        return [Path(os.fsdecode(path)) for path in paths], True
    return videos, False


def announce(plan: Announcement, bar: ProgressBar, *, quiet: bool) -> None:
    """What is about to be done, and where; and the bar, before the first video is done."""
    parts = [
        f"{count(plan.work.num_to_do, 'video')}, {byte_size(plan.work.num_bytes)}",
        plan.sampling.describe() + (", pixels as stored" if plan.aspect == "pixels" else ""),
        f"{model_name(plan.backbone)} on {plan.place}",
        f"store {home_relative(plan.store)}",
    ]
    say(" · ".join(parts), quiet=quiet)
    bar.update(0, plan.work.num_to_do)


def advance(progress: Progress, bar: ProgressBar) -> None:
    """Move the bar."""
    failed = f" · {progress.num_failed:,} failed" if progress.num_failed else ""
    bar.update(progress.num_done, progress.num_videos, f"{progress.num_frames:,} frames{failed}")


def print_result(result: ExtractResult, *, quiet: bool) -> None:
    """One line of counts on stdout; the first failures and remarks on stderr."""
    from vtrcli.store.config import is_store

    for warning in result.warnings[:MAX_SHOWN_FAILURES]:
        say(f"note: {warning}", quiet=quiet)
    failures = result.new_failures
    for failure in failures[:MAX_SHOWN_FAILURES]:
        say(f"failed: {failure.path}: {failure.reason}: {failure.detail}", quiet=quiet)
    hidden = len(failures) - MAX_SHOWN_FAILURES
    if hidden > 0:
        say(f"… and {hidden:,} more", quiet=quiet)
    say_absent(result.absent, quiet=quiet)
    parts = [f"{result.num_extracted + result.num_copied:,} done"]
    if result.num_copied:
        parts[0] += f" ({result.num_copied:,} copied from the same content)"
    if result.num_skipped:
        moved = f" ({result.num_moved:,} at a new place)" if result.num_moved else ""
        parts.append(f"{result.num_skipped:,} already there{moved}")
    listed = " (vtr store failures)" if is_store(result.store) else "; nothing was stored"
    if failures:
        parts.append(f"{len(failures):,} could not be read{listed}")
    if result.known_failures:
        known = count(len(result.known_failures), "known failure")
        parts.append(known if failures else f"{known}{listed}")
    if result.num_pruned:
        parts.append(f"{result.num_pruned:,} taken out")
    repeated = f" ({result.num_repeated:,} like one before)" if result.num_repeated else ""
    parts.append(f"{count(result.num_frames, 'frame')}{repeated} in {clock(result.seconds)}")
    print_line(", ".join(parts))
