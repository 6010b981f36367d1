"""`vtr store`: look after a feature store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from vtrcli.cli import options
from vtrcli.cli.app_parts import VtrCommand
from vtrcli.cli.output import (
    byte_size,
    count,
    model_name,
    print_json,
    print_rows,
    say,
    say_absent,
    short_path,
    stdout,
)
from vtrcli.errors import StoreError
from vtrcli.times import clock

NAME = "store"
MAX_SHOWN = 10
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
EPILOG = "Example: [bold]vtr store info --store kitchen.store[/bold]"
app = typer.Typer(
    no_args_is_help=True, help="Look after a feature store: what it holds, whether it is sound."
)


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr store info --store kitchen.store[/bold]")
def info(store: options.Store = None, json_output: options.Json = False) -> None:
    """Show what a store holds: videos, frames, backbone, sampling, size."""
    from vtrcli.store.failures import read_failures
    from vtrcli.store.reader import FeatureStore
    from vtrcli.video.sampling import Sampling

    path = options.store_path(store)
    opened = FeatureStore(path)
    records = [location.record for location in opened.videos.values()]
    seconds = sum(record.duration_seconds or 0.0 for record in records)
    num_bytes = sum(file.stat().st_size for file in path.rglob("*.safetensors"))
    num_failed = len(read_failures(path, records))
    backbone = opened.config.backbone
    if json_output:
        body = {
            "store": str(path),
            "num_videos": len(records),
            "num_frames": opened.num_frames,
            "duration_seconds": round(seconds, 3),
            "num_failed": num_failed,
            "num_shards": len(opened.shards),
            "num_bytes": num_bytes,
            "has_frames": (path / "frames").exists(),
            **{key: value for key, value in opened.config.to_json().items() if key != "format"},
        }
        print_json("store info", body)
        return
    rows = {
        "videos": f"{len(records):,} ({clock(seconds)} in all)",
        "frames": f"{opened.num_frames:,}",
        "failures": f"{num_failed:,}",
        "size": f"{byte_size(num_bytes)} in {count(len(opened.shards), 'shard')}",
        "backbone": f"{model_name(backbone.name)}, {backbone.dim} dimensions, weights {backbone.sha256[:12]}",
        "sampling": Sampling.from_json(opened.config.sampling).describe(),
        "pixels": "as stored" if opened.config.aspect == "pixels" else "square, as displayed",
        "kept frames": "yes" if (path / "frames").exists() else "no",
    }
    print_rows(rows)


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr store verify --store kitchen.store --repair[/bold]")
def verify(
    store: options.Store = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Set damaged files aside; extract and cache then do their contents again."
        ),
    ] = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Read every byte of a store and compare it with its checksums. Exit code 4 when something is damaged."""
    from vtrcli.store import verify as checks

    path = options.store_path(store)
    report = checks.verify(path)
    renamed = checks.repair(report) if repair else []
    if json_output:
        body = {
            "store": str(path),
            "num_shards": report.num_shards,
            "num_frames": report.num_frames,
            "num_bytes": report.num_bytes,
            "problems": [{"path": str(file), "detail": detail} for file, detail in report.problems],
            "set_aside": [str(file) for file in renamed],
        }
        print_json("store verify", body)
    elif not report.problems:
        shards, frames = count(report.num_shards, "shard"), count(report.num_frames, "frame")
        stdout().print(f"sound: {shards}, {frames}, {byte_size(report.num_bytes)} read", soft_wrap=True)
    else:
        for file, detail in report.problems:
            say(f"{file.name}: {detail}", quiet=quiet)
    if report.leftovers and not repair:
        say(
            f"{count(len(report.leftovers), 'unfinished file')} of interrupted runs (--repair removes them)",
            quiet=quiet,
        )
    if report.problems and not repair:
        raise StoreError(
            f"{count(len(report.problems), 'file')} in {path} damaged ({count(report.num_shards, 'shard')} read)",
            allowed="files as they were written",
            to_do="run `vtr store verify --repair`, then `vtr extract` (and `vtr cache` for captions) again",
        )
    if renamed and not json_output:
        stdout().print(
            f"{count(len(renamed), 'file')} set aside; run `vtr extract` (and `vtr cache` for captions) again",
            soft_wrap=True,
        )


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr store relocate /media/old /media/new[/bold]")
def relocate(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="Folder where the videos were, or a root's name.")
    ],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Folder where they are now.")],
    store: options.Store = None,
    dry_run: DryRun = False,
    json_output: options.Json = False,
) -> None:
    """Tell a store that a folder of its videos is at another place now. Nothing is decoded.

    `vtr extract NEW` finds that out by itself, and also notices files that were renamed or changed.
    """
    from vtrcli.store.relocate import relocate as relocate_folder

    path = options.store_path(store)
    done = relocate_folder(path, old, new, dry_run=dry_run)
    if json_output:
        body = {
            "store": str(path),
            "dry_run": dry_run,
            "old": done.old,
            "new": done.new,
            "num_videos": done.num_videos,
            "num_found": done.num_found,
            "num_merged": done.num_merged,
        }
        print_json("store relocate", body)
        return
    verb = "would be" if dry_run else "now"
    parts = [f"{count(done.num_videos, 'video')} of {done.old} {verb} in {done.new}"]
    if done.num_found < done.num_videos:
        parts.append(f"{done.num_videos - done.num_found:,} of them not found there")
    if done.num_merged:
        parts.append(f"{done.num_merged:,} merged with what was extracted there")
    stdout().print(", ".join(parts), soft_wrap=True)


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr store prune --missing --dry-run[/bold]")
def prune(
    videos: Annotated[
        list[str] | None, typer.Argument(metavar="VIDEO", help="Ids, or paths of files.", show_default=False)
    ] = None,
    store: options.Store = None,
    missing: Annotated[bool, typer.Option("--missing", help="Videos whose file is gone.")] = False,
    under: Annotated[
        list[Path] | None,
        typer.Option("--under", metavar="FOLDER", help="Videos in this folder; also several times."),
    ] = None,
    dry_run: DryRun = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Take videos out of a store, never files off the disk. What is given narrows down: --missing --under FOLDER takes
    out what is gone from that folder.

    Of a folder that is not there (a disk that is not mounted) nothing is taken out unless --under names it.
    """
    from vtrcli.store.prune import prune as prune_store

    path = options.store_path(store)
    done = prune_store(path, missing=missing, under=under or [], names=videos or [], dry_run=dry_run)
    if json_output:
        body = {
            "store": str(path),
            "dry_run": dry_run,
            "num_pruned": len(done.videos),
            "pruned": [{"video_id": record.video_id, "path": record.path} for record in done.videos],
            "kept": [{"folder": folder, "num_videos": number} for folder, number in done.absent.items()],
        }
        print_json("store prune", body)
        return
    for record in done.videos[:MAX_SHOWN]:
        say(f"{'would prune' if dry_run else 'pruned'}: {record.path}", quiet=quiet)
    if len(done.videos) > MAX_SHOWN:
        say(f"… and {len(done.videos) - MAX_SHOWN:,} more", quiet=quiet)
    say_absent(done.absent, quiet=quiet)
    result = "would be taken out" if dry_run else "taken out"
    stdout().print(f"{count(len(done.videos), 'video')} {result}", soft_wrap=True)


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr store failures --json | jq '.failures[].path'[/bold]")
def failures(store: options.Store = None, json_output: options.Json = False) -> None:
    """List the files that could not be extracted, and why."""
    from vtrcli.store.failures import read_failures
    from vtrcli.store.reader import FeatureStore

    path = options.store_path(store)
    records = [location.record for location in FeatureStore(path).videos.values()]
    standing = list(read_failures(path, records).values())
    if json_output:
        rows = [{**failure.public(), "when": failure.when} for failure in standing]
        print_json("store failures", {"store": str(path), "failures": rows})
        return
    if not standing:
        stdout().print("no failures")
        return
    from vtrcli.cli.console import Column, print_columns

    columns = [
        Column("reason", style="yellow"),
        Column("file", folds=True),
        Column("detail", folds=True),
        Column("when", style="dim", leaves=1),
    ]
    print_columns(
        columns,
        [
            (
                failure.reason,
                short_path(failure.path),
                failure.detail,
                time.strftime("%Y-%m-%d %H:%M", time.localtime(failure.when)),
            )
            for failure in standing
        ],
    )
