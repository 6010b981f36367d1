"""`vtr store`: look after a feature store."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vtrcli.cli import features, options
from vtrcli.cli.options import arg, flag, opt
from vtrcli.cli.output import (
    Column,
    ProgressBar,
    byte_size,
    count,
    model_name,
    print_columns,
    print_json,
    print_line,
    print_rows,
    say,
    say_absent,
    short_path,
    stdout,
)
from vtrcli.cli.settings import TypedCommand, VtrCommand
from vtrcli.errors import StoreError
from vtrcli.times import clock

if TYPE_CHECKING:
    from vtrcli.store.compact import Contents, Kind
    from vtrcli.store.config import BackboneInfo, StoreConfig
    from vtrcli.store.frames import KeptKinds
    from vtrcli.store.records import VideoRecord
    from vtrcli.store.roots import Root

MAX_SHOWN = 10
DRY_RUN: bool = flag("--dry-run", "Only say what would be done.")
EPILOG = "Example: [bold]vtr store info --store kitchen.store[/bold]"
app = typer.Typer(no_args_is_help=True)  # its help is in cli/app.py


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr store info --store kitchen.store[/bold]")
def info(store: Path = options.STORE, json_output: bool = options.JSON) -> None:
    """Show what a store holds, by kind (features, kept frames, captions, derived tables), and what is missing or
    superseded."""
    from vtrcli.store.compact import contents
    from vtrcli.store.failures import read_failures
    from vtrcli.store.frames import kept_frames
    from vtrcli.store.reader import FeatureStore
    from vtrcli.video.sampling import Sampling

    feature_store = FeatureStore(store)
    records = [location.record for location in feature_store.videos.values()]
    seconds = sum(record.duration_seconds or 0.0 for record in records)
    inventory, kept = contents(feature_store), kept_frames(feature_store)
    kinds = {
        "features": inventory.features,
        "frames": inventory.frames,
        "texts": inventory.texts,
        "derived": inventory.derived,
    }
    num_bytes = sum(kind.num_bytes for kind in kinds.values())
    num_failed = len(read_failures(store, records))
    config, roots = feature_store.config, list(feature_store.roots.by_name.values())
    backbone = config.backbone
    if json_output:
        body = {
            "store": str(store),
            "num_videos": len(records),
            "num_frames": feature_store.num_frames,
            "duration_seconds": round(seconds, 3),
            "num_failed": num_failed,
            "num_shards": len(feature_store.shards),
            "num_bytes": num_bytes,
            "has_frames": inventory.frames.num_files > 0,
            "kept_frames": {
                "num_whole": len(kept.whole),
                "num_cut": len(kept.cut),
                "short_sides": kept.short_sides,
            },
            "precision": _precisions(records),
            "roots": [
                {"name": root.name, "folder": root.folder, "is_there": root.is_there()} for root in roots
            ],
            "num_missing": inventory.num_missing,
            "num_without_file": inventory.num_without_file,
            "num_superseded": inventory.num_superseded,
            "num_removed": inventory.num_removed,
            "num_dead_bytes": inventory.num_dead_bytes,
            "contents": {name: vars(kind) for name, kind in kinds.items()},
            **{key: value for key, value in config.to_json().items() if key != "format"},
        }
        print_json("store info", body)
        return
    rows = {
        "videos": f"{len(records):,}" + f" ({clock(seconds)} in all)" * bool(seconds or not config.source),
        "folders": _folders(roots),
        "frames": f"{feature_store.num_frames:,}",
        "failures": f"{num_failed:,}",
        "missing": f"{count(inventory.num_missing, 'file')} not there (vtr store prune)"
        * bool(inventory.num_missing),
        "out of use": _out_of_use(inventory),
        "backbone": f"{model_name(backbone.name)}, {backbone.dim} dimensions, {_weights(backbone)}",
        "source": _source(config, inventory),
        "precision": "" if config.source else _shown(_precisions(records)),
        "sampling": Sampling.from_json(config.sampling).describe() if config.sampling else "not known",
        "kept": _kept(kept, config),
        "pixels": "as stored" if config.aspect == "pixels" else "square, as displayed",
        "similar frames": f"share a feature up to {config.similar_frames:g} of 255"
        * bool(config.similar_frames),
    }
    if not config.preprocessing:
        rows["pixels"] = "not known"
    print_rows({name: value for name, value in rows.items() if value})
    _print_kinds(kinds, num_frames=feature_store.num_frames)


def _weights(backbone: BackboneInfo) -> str:
    return "known by name alone" if backbone.is_claimed else f"weights {backbone.sha256[:12]}"


def _source(config: StoreConfig, held: Contents) -> str:
    """Where imported features are from; empty where vtr extracted all of them."""
    if config.source is None:
        return ""
    length = ", rows of length 1" if config.source.get("unit_length") else ""
    return f"imported ({config.source.get('dtype')}{length}); {count(held.num_without_file, 'video')} without a file"


def _precisions(records: list[VideoRecord]) -> dict[str, int]:
    """Number format of the image tower -> videos whose features it computed so."""
    counts = Counter(record.precision or "not recorded" for record in records)
    return dict(counts.most_common())


def _shown(counts: dict[str, int]) -> str:
    """The one there is, or each with its number of videos."""
    if len(counts) < 2:
        return "".join(counts)
    return ", ".join(f"{name} ({count(number, 'video')})" for name, number in counts.items())


def _kept(kept: KeptKinds, config: StoreConfig) -> str:
    """Whole pictures and their size, or cut ones and how; empty where no frames are kept."""
    parts = []
    if kept.whole:
        low, high = min(kept.short_sides), max(kept.short_sides)
        sides = f"{low}" if low == high else f"{low} to {high}"
        parts.append(f"frames as whole pictures, short side {sides}: {count(len(kept.whole), 'video')}")
    if kept.cut:
        cut = f"frames as the encoder saw them, {config.framing.words}"
        parts.append(f"{cut}: {count(len(kept.cut), 'video')} (--renew-frames)")
    return "\n".join(parts)


def _folders(roots: list[Root]) -> str:
    """Where the videos were extracted from; empty for stores of the first releases."""
    folders = {root.folder: root.is_there() for root in roots}  # roots that were relocated may share one
    shown = [f"{folder}{'' if is_there else ' (not there)'}" for folder, is_there in folders.items()]
    shown, hidden = shown[:MAX_SHOWN], len(shown) - MAX_SHOWN
    return "\n".join([*shown, *([f"and {hidden:,} more"] if hidden > 0 else [])])


def _out_of_use(held: Contents) -> str:
    """Rows that count no more, and what frees their bytes; empty when there are none."""
    parts = [
        f"{number:,} {what}"
        for number, what in ((held.num_superseded, "superseded"), (held.num_removed, "removed"))
        if number
    ]
    return f"{', '.join(parts)}: {byte_size(held.num_dead_bytes)} (vtr store compact)" if parts else ""


def _print_kinds(kinds: dict[str, Kind], *, num_frames: int) -> None:
    holds = {
        "features": f"{count(kinds['features'].num_parts, 'video')}, {count(num_frames, 'frame')}",
        "frames": f"kept pictures of {count(kinds['frames'].num_parts, 'video')}",
        "texts": f"features of {count(kinds['texts'].num_parts, 'caption')}",
        "derived": "made again when it is needed",
    }
    rows = [
        (name, f"{kind.num_files:,}", byte_size(kind.num_bytes), holds[name])
        for name, kind in kinds.items()
        if kind.num_files
    ]
    num_files = sum(kind.num_files for kind in kinds.values())
    num_bytes = sum(kind.num_bytes for kind in kinds.values())
    right = [Column(heading, is_right=True) for heading in ("files", "size")]
    stdout().print()
    print_columns(
        [Column(""), *right, Column("holds", folds=True)],
        [*rows, ("all", f"{num_files:,}", byte_size(num_bytes), "")],
    )


@app.command(cls=TypedCommand, epilog="Example: [bold]vtr store compact --store kitchen.store[/bold]")
def compact(
    store: Path = options.STORE,
    drop_frames: bool = flag(
        "--drop-frames", "Delete the kept frames too; thumbnails come from the videos then."
    ),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Free what counts no more: rows of videos that were extracted again or taken out, derived tables of shards that
    have gone. Small shards become one. Searches and extractions may go on meanwhile."""
    from vtrcli.store import compact as compacting
    from vtrcli.store.catalog_file import CATALOG_NAME, open_catalog
    from vtrcli.store.config import INDEX_FOLDER
    from vtrcli.store.derived import remove_orphans

    with ProgressBar(unit="MB", quiet=quiet, transient=True) as bar:
        report = compacting.compact(
            store,
            drop_frames=drop_frames,
            on_progress=lambda num_bytes, total: bar.update(num_bytes // 10**6, total // 10**6),
        )
    num_freed = report.num_bytes_before - report.num_bytes_after + remove_orphans(store)
    if (store / INDEX_FOLDER / CATALOG_NAME).exists():
        open_catalog(store)  # the next search need not make it, and verify misses no shard
    if json_output:
        body = {
            "store": str(store),
            "num_dropped": report.num_dropped,
            "num_shards_before": report.num_shards_before,
            "num_shards_after": report.num_shards_after,
            "num_bytes_freed": num_freed,
            "num_bytes": report.num_bytes_after,
        }
        print_json("store compact", body)
        return
    shards, size = count(report.num_shards_after, "shard"), byte_size(report.num_bytes_after)
    if num_freed <= 0 and report.num_shards_before == report.num_shards_after:
        print_line(f"nothing to free: {shards}, {size}")
        return
    print_line(
        f"{byte_size(max(num_freed, 0))} freed, {report.num_dropped:,} superseded or removed videos dropped; "
        f"now {shards}, {size}"
    )


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr store verify --store kitchen.store --repair[/bold]")
def verify(
    store: Path = options.STORE,
    repair: bool = flag(
        "--repair", "Set damaged files aside; extract and cache then do their contents again."
    ),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Read every byte of a store and compare it with its checksums. Exit code 4 when something is damaged."""
    from vtrcli.store import verify as checks
    from vtrcli.store.catalog_file import open_catalog, vanished_shards

    report = checks.verify(store)
    vanished = vanished_shards(store)
    problems = [*report.all_problems, *vanished]
    renamed = checks.repair(store, report) if repair else []
    if repair and vanished and not report.others:
        open_catalog(store)  # what the last search knew is told once
    is_mended = repair and not report.others
    if json_output:
        body = {
            "store": str(store),
            "num_shards": report.num_shards,
            "num_frames": report.num_frames,
            "num_bytes": report.num_bytes,
            "problems": [{"path": str(file), "detail": detail} for file, detail in problems],
            "set_aside": [str(file) for file in renamed],
        }
        print_json("store verify", body)
    elif not problems:
        shards, frames = count(report.num_shards, "shard"), count(report.num_frames, "frame")
        print_line(f"sound: {shards}, {frames}, {byte_size(report.num_bytes)} read")
    else:
        for file, detail in problems:
            say(f"{file.name}: {detail}", quiet=quiet)
    if report.leftovers and not repair:
        say(
            f"{count(len(report.leftovers), 'unfinished file')} of interrupted runs (--repair removes them)",
            quiet=quiet,
        )
    if report.others:
        raise StoreError(
            f"{count(len(report.others), 'file')} in {store} cannot be checked: {report.others[0][1]}",
            allowed="files that can be read, of a format that this vtr knows",
            to_do="update vtr (pip install -U vtrcli) or mend what is said of them: nothing was set aside for it",
        )
    if problems and not is_mended:
        raise StoreError(
            f"{count(len(problems), 'problem')} in {store} ({count(report.num_shards, 'shard')} read)",
            allowed="files as they were written",
            to_do=f"run `vtr store verify --repair`, then {_remake(store)} again",
        )
    if problems and not json_output:
        done = [f"{count(len(renamed), 'file')} set aside"] * bool(renamed)
        done += [f"{count(len(report.unsound), 'video')} taken out"] * bool(report.unsound)
        print_line(f"{', '.join(done) or 'noted'}; run {_remake(store)} again")


def _remake(store: Path) -> str:
    """The commands that make again what was set aside."""
    from vtrcli.store.config import read_config

    if read_config(store).source is not None:
        return "`vtr store import` (and with --captions)"
    return "`vtr extract` (and `vtr cache` for captions)"


@app.command(cls=TypedCommand, epilog="Example: [bold]vtr store relocate /media/old /media/new[/bold]")
def relocate(
    old: str = arg("OLD", "Folder where the videos were, or a root's name."),
    new: Path = arg("NEW", "Folder where they are now."),
    store: Path = options.STORE,
    dry_run: bool = DRY_RUN,
    json_output: bool = options.JSON,
) -> None:
    """Tell a store that a folder of its videos is at another place now. Nothing is decoded.

    `vtr extract NEW` finds that out by itself, and also notices files that were renamed or changed.
    """
    from vtrcli.store.relocate import relocate as relocate_folder

    done = relocate_folder(store, old, new, dry_run=dry_run)
    if json_output:
        body = {"store": str(store), "dry_run": dry_run, **vars(done)}
        print_json("store relocate", body)
        return
    verb = "would be" if dry_run else "now"
    parts = [f"{count(done.num_videos, 'video')} of {done.old} {verb} in {done.new}"]
    if done.num_found < done.num_videos:
        parts.append(f"{done.num_videos - done.num_found:,} of them not found there")
    if done.num_merged:
        parts.append(f"{done.num_merged:,} merged with what was extracted there")
    print_line(", ".join(parts))


@app.command(cls=TypedCommand, epilog="Example: [bold]vtr store prune --missing --dry-run[/bold]")
def prune(
    videos: list[str] | None = arg("VIDEO", "Ids, or paths of files.", default=None),
    store: Path = options.STORE,
    missing: bool = flag("--missing", "Videos whose file is gone."),
    under: list[Path] | None = opt("--under FOLDER", "Videos in this folder; also several times."),
    dry_run: bool = DRY_RUN,
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Take videos out of a store, never files off the disk. What is given narrows down: --missing --under FOLDER takes
    out what is gone from that folder.

    Of a folder that is not there (a disk that is not mounted) nothing is taken out unless --under names it.
    """
    from vtrcli.store.prune import prune as prune_store

    done = prune_store(store, missing=missing, under=under or [], names=videos or [], dry_run=dry_run)
    if json_output:
        body = {
            "store": str(store),
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
    for folder in done.empty:
        say(f"note: the store holds no video of {folder}; `vtr store info` shows its folders", quiet=quiet)
    result = "would be taken out" if dry_run else "taken out"
    print_line(f"{count(len(done.videos), 'video')} {result}")


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr store failures --json | jq '.failures[].path'[/bold]")
def failures(store: Path = options.STORE, json_output: bool = options.JSON) -> None:
    """List the files that could not be extracted, and why."""
    from vtrcli.store.failures import read_failures
    from vtrcli.store.reader import FeatureStore

    records = [location.record for location in FeatureStore(store).videos.values()]
    standing = list(read_failures(store, records).values())
    if json_output:
        rows = [{**failure.to_json(), "when": failure.when} for failure in standing]
        print_json("store failures", {"store": str(store), "failures": rows})
        return
    if not standing:
        stdout().print("no failures")
        return
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


app.command("export", cls=TypedCommand, epilog=features.EXPORT_EPILOG)(features.export_command)
app.command("import", cls=TypedCommand, epilog=features.IMPORT_EPILOG)(features.import_command)
