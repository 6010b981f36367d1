"""`vtr store export` and `vtr store import`: features for other programs, and of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import typer

from vtrcli.cli import options
from vtrcli.cli.options import arg, flag, opt
from vtrcli.cli.output import (
    ProgressBar,
    anchored,
    count,
    model_name,
    print_json,
    print_line,
    say,
    short_path,
)
from vtrcli.errors import EXIT_SOME_FAILED, UsageError
from vtrcli.files import path_matcher

EXPORT_EPILOG = "Example: [bold]vtr store export --as npz --store kitchen.store -o clip_features[/bold]"
IMPORT_EPILOG = (
    "Example: [bold]vtr store import features --fps 0.5 --backbone ViT-B/32 --store qv.store[/bold]"
)
MAX_SHOWN = 10
MOMENTS: bool = flag("--moments", "With --captions: the queries of the data set's moments, by their own ids.")


def export_command(
    out: Path = opt("--out, -o FOLDER", "New folder.", default=...),
    layout: Literal["npz", "npy", "parquet"] = opt(
        "--as",
        "npz: NAME.npz per video, as moment_detr reads it; npy: one matrix and a table; parquet.",
        default="npz",
    ),
    path: list[str] | None = opt(
        "--path GLOB", "Only videos of this path, folder or id; also several times."
    ),
    dataset: str | None = opt("--dataset", "Only its videos, by the names that its files use."),
    annotations: Path | None = options.ANNOTATIONS,
    split: list[str] | None = opt("--split", "Of --dataset; also several times.", shown="all"),
    fps: float | None = opt(
        "--fps", "Rows at 0, 1/FPS, 2/FPS …: the frame nearest to each.", shown="as extracted"
    ),
    dtype: Literal["float16", "float32"] = opt(
        "--dtype", "float16, as the store keeps them, or the same numbers as float32.", default="float16"
    ),
    unit: bool = flag("--unit", "Rows of length 1, as clip-retrieval keeps them."),
    captions: bool = flag(
        "--captions", "Not the videos but the captions of --dataset: qidID.npz, or one matrix."
    ),
    moments: bool = MOMENTS,
    max_tokens: int | None = options.MAX_TOKENS,
    store: Path = options.STORE,
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Write features into a new folder, for programs that read .npz, .npy or Parquet."""
    _require_captions(captions, moments=moments)
    if captions:
        if layout == "parquet" or path or fps is not None:
            raise UsageError(
                "--captions with --as parquet, --path or --fps",
                allowed="npz or npy, by --dataset and --split",
                to_do="leave them out",
            )
        name, folder = options.require_dataset(dataset, annotations, is_typed=True)
        _export_captions(
            store,
            out,
            layout=layout,
            dataset=name,
            annotations=folder,
            splits=split or [],
            moments=moments,
            max_tokens=max_tokens,
            dtype=dtype,
            is_unit=unit,
            json_output=json_output,
            quiet=quiet,
        )
        return
    from vtrcli.store.exports import export_features

    names = _by_dataset(store, dataset, annotations, split or [], quiet=quiet)
    if path:
        names = _matching(store, names, [anchored(pattern) for pattern in path])
    with ProgressBar(unit="videos", quiet=quiet or json_output, transient=True) as bar:
        done = export_features(
            store, out, layout=layout, names=names, dtype=dtype, fps=fps, is_unit=unit, on_progress=bar.update
        )
    if json_output:
        print_json("store export", {"store": str(store), **done.to_json()})
        return
    print_line(
        f"{count(done.num_videos, 'video')}, {count(done.num_frames, 'row')} of {done.dim} numbers ({done.dtype}) "
        f"in {short_path(str(out))}"
    )
    if done.num_repeated:
        say(
            f"note: {done.num_repeated:,} rows repeat the one before: the store has fewer frames than --fps asks for",
            quiet=quiet,
        )


def _export_captions(store: Path, out: Path, *, json_output: bool, quiet: bool, **how: Any) -> None:
    """`how` as `export_captions` has it."""
    from vtrcli.text.exchange import export_captions

    done = export_captions(store, out, **how)
    if json_output:
        print_json("store export", {"store": str(store), **done.to_json()})
        return
    print_line(f"{count(done.num_captions, 'caption')} ({done.dtype}) in {short_path(str(out))}")
    if done.num_missing:
        say(f"note: {count(done.num_missing, 'caption')} have no features (vtr cache)", quiet=quiet)
    if done.layout == "npz":
        say("note: pooler_output alone; a store has no token features (last_hidden_state)", quiet=quiet)


def _by_dataset(
    store: Path, dataset: str | None, annotations: Path | None, splits: list[str], *, quiet: bool
) -> dict[str, str] | None:
    """Store id -> name in the data set; None where none was named."""
    if dataset is None and annotations is None and not splits:
        return None
    from vtrcli.datasets.match_store import join_with_store, require_complete
    from vtrcli.store.reader import FeatureStore
    from vtrcli.text.exchange import load_splits

    opened, names = FeatureStore(store), dict[str, str]()
    for split in load_splits(*options.require_dataset(dataset, annotations, is_typed=True), splits):
        joined = join_with_store(split, opened.videos, paths=opened.paths)
        require_complete(joined, allow_missing=True)
        missing = set(joined.missing_videos)
        there = (video_id for video_id in split.video_ids if video_id not in missing)
        names.update(zip(joined.video_ids, there, strict=True))
        if missing:
            say(f"note: {split.name}: {count(len(missing), 'video')} not in the store", quiet=quiet)
    return names


def _matching(store: Path, names: dict[str, str] | None, patterns: list[str]) -> dict[str, str]:
    """Those whose path, or id where there is no file, is one that is meant."""
    from vtrcli.store.reader import FeatureStore

    paths, matchers = FeatureStore(store).paths, [path_matcher(pattern) for pattern in patterns]
    chosen = names if names is not None else {video_id: video_id for video_id in paths}
    return {
        video_id: name
        for video_id, name in chosen.items()
        if any(matches(paths[video_id] or video_id) for matches in matchers)
    }


def _require_captions(captions: bool, *, moments: bool) -> None:
    if moments and not captions:
        raise UsageError(
            "--moments without --captions", allowed="whose captions are meant", to_do="add --captions"
        )


def import_command(
    path: Path = arg(
        "PATH", "Folder of a .npz, .npy or .pt per video, a matrix, Parquet, or what export wrote."
    ),
    backbone: str | None = opt(
        "--backbone",
        "What made the features: a name of `vtr models list`, or any other.",
        shown="what an export says",
    ),
    fps: float | None = opt(
        "--fps", "Rows per second, where files have no times; the first is at 0.", shown="none"
    ),
    table: Path | None = opt("--table CSV", "Of a matrix: video_id and, if known, seconds of each row."),
    key: str | None = opt("--key", "Name of the array, where files hold several.", shown="features"),
    durations: Path | None = opt(
        "--durations FILE", "Seconds of each video (CSV or JSONL), to tell archives that end early."
    ),
    captions: bool = flag("--captions", "Features of the captions of --dataset, into a store that is there."),
    dataset: str | None = opt("--dataset", "Whose captions they are.", shown="none"),
    annotations: Path | None = options.ANNOTATIONS,
    split: list[str] | None = opt("--split", "Of --dataset; also several times.", shown="all"),
    moments: bool = MOMENTS,
    max_tokens: int | None = options.MAX_TOKENS,
    store: Path = options.STORE,
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Make a store of features that others extracted; no video is needed. What is not known of them stays empty.

    Exit code 5 when some videos could not be used: `vtr store failures` lists them.
    """
    _require_captions(captions, moments=moments)
    if captions and (backbone or fps is not None or durations):
        raise UsageError(
            "--captions with --backbone, --fps or --durations",
            allowed="captions go into a store that is there, and have no times",
            to_do="leave them out",
        )
    if captions != (dataset is not None):
        raise UsageError(
            "--captions without --dataset" if captions else f"--dataset {dataset} without --captions",
            allowed="--captions with --dataset and --annotations: captions are found by them",
            to_do="give both, or neither",
        )
    if captions:
        name, folder = options.require_dataset(dataset, annotations, is_typed=True)
        _import_captions(
            path,
            store,
            dataset=name,
            annotations=folder,
            splits=split or [],
            moments=moments,
            table=table,
            key=key,
            max_tokens=max_tokens,
            json_output=json_output,
            quiet=quiet,
        )
        return
    from vtrcli.extraction.imports import import_features

    with ProgressBar(unit="videos", quiet=quiet or json_output, transient=True) as bar:
        result = import_features(
            path,
            store,
            backbone=backbone,
            fps=fps,
            table=table,
            key=key,
            durations=durations,
            on_progress=lambda num_done, total: bar.update(num_done, total or num_done),
        )
    if json_output:
        print_json("store import", result.to_json())
    else:
        for failure in result.failures[:MAX_SHOWN]:
            say(f"failed: {short_path(failure.path)}: {failure.reason}: {failure.detail}", quiet=quiet)
        if len(result.failures) > MAX_SHOWN:
            say(f"… and {len(result.failures) - MAX_SHOWN:,} more (vtr store failures)", quiet=quiet)
        for note in result.notes:
            say(f"note: {note}", quiet=quiet)
        there = f", {result.num_skipped:,} already there" * bool(result.num_skipped)
        failed = f", {len(result.failures):,} failed" * bool(result.failures)
        made_by = f"{model_name(result.backbone.name)}, {result.backbone.dim} dimensions"
        print_line(
            f"{count(result.num_imported, 'video')} imported ({count(result.num_frames, 'frame')}; {made_by})"
            f"{there}{failed}"
        )
    if result.failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def _import_captions(path: Path, store: Path, *, json_output: bool, quiet: bool, **how: Any) -> None:
    """`how` as `import_captions` has it."""
    from vtrcli.text.exchange import import_captions

    with ProgressBar(unit="captions", quiet=quiet or json_output, transient=True) as bar:
        result = import_captions(path, store=store, on_progress=bar.update, **how)
    if json_output:
        print_json("store import", result.to_json())
    else:
        for problem in list(result.problems.values())[:MAX_SHOWN]:
            say(f"failed: {problem}", quiet=quiet)
        num_without = result.num_captions - result.num_found - len(result.problems)
        if num_without:
            say(
                f"note: {count(num_without, 'caption')} of {how['dataset']} not in {short_path(str(path))}",
                quiet=quiet,
            )
        failed = f", {len(result.problems):,} failed" * bool(result.problems)
        print_line(
            f"{count(result.num_found, 'caption')} found, {count(result.num_imported, 'text')} new{failed}; "
            "train and evaluate with --tagger none"
        )
    if result.problems:
        raise typer.Exit(EXIT_SOME_FAILED)
