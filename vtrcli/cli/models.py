"""`vtr models`: the backbones that are known and at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vtrcli.cli import options
from vtrcli.cli.options import arg, opt
from vtrcli.cli.output import (
    Column,
    ProgressBar,
    byte_size,
    download_progress,
    home_relative,
    print_columns,
    print_json,
    print_line,
    print_rows,
    say,
    stdout,
)
from vtrcli.cli.settings import VtrCommand
from vtrcli.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from vtrcli.model.bench import Speed
    from vtrcli.model.models import OriginalComparison

NAME = "models"
EPILOG = "Example: [bold]vtr models list[/bold]"
app = typer.Typer(no_args_is_help=True)  # its help is in cli/app.py

NAME_ARGUMENT: str = arg("NAME", options.BACKBONE_HELP, complete=options.backbones)
# Rounding in half precision and another ffmpeg's scaler stay well above this; another model falls far below.
MIN_GOLDEN_COSINE = 0.99


@app.command("list", cls=VtrCommand, epilog="Example: [bold]vtr models list --json[/bold]")
def list_command(json_output: bool = options.JSON) -> None:
    """List the backbones: OpenAI's, the demo's, open_clip's by short names, and what was imported."""
    from vtrcli.model.models import list_models

    entries = list_models()
    if json_output:
        print_json("models list", {"models": [vars(entry) for entry in entries]})
        return
    columns = [
        Column("name", style="bold"),
        Column("params", is_right=True, leaves=4),
        Column("dim", is_right=True, leaves=3),
        Column("input", is_right=True),
        Column("languages", leaves=5),
        Column("licence", leaves=6, short=lambda text: text.rpartition(", ")[2]),
        Column("R@1", is_right=True),
        Column("state"),
        Column("size", is_right=True, leaves=2),
        Column("file", folds=True, style="dim", leaves=1),
    ]
    rows = [
        (
            entry.name,
            f"{entry.parameters:,} M" if entry.parameters is not None else "",
            str(entry.dim),
            f"{entry.input_size} px",
            entry.languages or "",
            entry.licence or "",
            f"{entry.published_r1:.1f}" if entry.published_r1 is not None else "",
            entry.state,
            byte_size(entry.num_bytes) if entry.num_bytes else "",
            home_relative(entry.path) if entry.path else "",
        )
        for entry in entries
    ]
    print_columns(columns, rows)
    sources = sorted({entry.source for entry in entries if entry.source})
    stdout().print(f"R@1: zero-shot, MSR-VTT 1k-A, text to video, as published ({'; '.join(sources)}).")


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr models bench ViT-B/32 pe-core-s16-384[/bold]")
def bench(
    names: list[str] | None = arg(
        "NAME",
        "As --backbone takes them. Without any: a few of `vtr models list`, and what is here.",
        default=None,
        complete=options.backbones,
    ),
    device: str = options.DEVICE,
    precision: options.Precision = options.PRECISION,
    batch_size: int | None = opt("--batch-size", "Frames at a time.", min=1, shown="by device"),
    seconds: float = opt("--seconds", "About so long for each number.", default=3.0, min=0.0, max=3600),
    timeout: float = opt("--timeout", "Seconds after which a model is given up.", default=600.0, min=1.0),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Measure frames per second, milliseconds per query and memory on this machine; what is not here is measured with
    random weights of the real architecture, which are as fast."""
    from vtrcli.model.bench import bench_models

    with ProgressBar(unit="models", quiet=quiet or json_output, transient=True) as bar:
        speeds, missing = bench_models(
            names or (),
            device=device,
            precision=precision,
            batch_size=batch_size,
            seconds=seconds,
            timeout_seconds=timeout,
            on_progress=bar.update,
        )
    if json_output:
        body = {"models": [vars(speed) for speed in speeds], "not_measured": [vars(each) for each in missing]}
        print_json("models bench", body)
    else:
        if speeds:
            _print_speeds(speeds)
        for why in dict.fromkeys(each.why for each in missing):
            failed = ", ".join(each.name for each in missing if each.why == why)
            say(f"not measured: {failed}: {why}")
    if missing and (names or not speeds):
        raise typer.Exit(WeightsError.exit_code)


def _print_speeds(speeds: list[Speed]) -> None:
    from vtrcli.model.bench import best_trades

    best, is_busy = best_trades(speeds), any(speed.was_disturbed for speed in speeds)
    has_gpu = any(speed.gpu_mib is not None for speed in speeds)
    columns = [
        Column("model", style="bold", short=lambda name: name[-24:]),
        Column("weights"),
        Column("params", is_right=True, leaves=3),
        Column("in", leaves=2),
        Column("frames/s", is_right=True),
        *([Column("alone", is_right=True)] if is_busy else []),
        Column("GPU MiB" if has_gpu else "MiB", is_right=True),
        Column("ms/query", is_right=True),
        *([Column("alone", is_right=True)] if is_busy else []),
        Column("MiB", is_right=True, leaves=4),
        Column("start", is_right=True, leaves=1),
        Column("R@1", is_right=True),
    ]
    rows = [
        (
            speed.name,
            "random" if speed.is_random else "here",
            f"{speed.parameters / 1e6:,.0f} M",
            speed.precision,
            f"{speed.frames_per_second:,.1f}",
            *([f"{speed.alone_frames_per_second or 0:,.1f}"] if is_busy else []),
            _mib(speed.gpu_mib if has_gpu else speed.extract_mib),
            f"{speed.query_ms:,.1f}",
            *([f"{speed.alone_query_ms or 0:,.1f}"] if is_busy else []),
            _mib(speed.query_mib),
            f"{speed.new_process_seconds:.1f} s",
            ("* " if speed.name in best and len(best) < len(speeds) else "")
            + (f"{speed.published_r1:.1f}" if speed.published_r1 is not None else ""),
        )
        for speed in speeds
    ]
    print_columns(columns, rows)
    batches = sorted({speed.num_batches for speed in speeds})
    size, where = speeds[0].batch_size, sorted({speed.device for speed in speeds})
    lines = [
        f"On {', '.join(where)}: frames from pixels to features, {size} at a time, median of"
        f" {'-'.join(str(number) for number in dict.fromkeys((batches[0], batches[-1])))} batches; one text at a time, "
        "the text tower alone; start: a new process to its first query; MiB: the process's peak.",
    ]
    if is_busy:
        lines.append(
            "This machine was busy with other work. alone: by processor time, as it would be without."
        )
    if any(speed.is_random for speed in speeds):
        lines.append(
            "random: weights that are not here were made up; speed and memory are those of the real ones."
        )
    if any("* " in row[-1] for row in rows):
        lines.append("R@1: as published (vtr models list). *: no other here is both faster and better.")
    for line in lines:
        stdout().print(line)


def _mib(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr models pull ViT-B/32[/bold]")
def pull(name: str = NAME_ARGUMENT, json_output: bool = options.JSON, quiet: bool = options.QUIET) -> None:
    """Download one of OpenAI's models (resumed, checked) and convert it, or a folder from the Hugging Face Hub."""
    from vtrcli.model.models import pull_model

    path = pull_model(name, progress=download_progress(quiet=quiet))
    _report("models pull", name, path, json_output=json_output)


@app.command(
    "import", cls=VtrCommand, epilog="Example: [bold]vtr models import finetuned.pt --name mine[/bold]"
)
def import_command(
    path: Path = arg("PATH", "File or folder of weights."),
    name: str | None = opt("--name", "What to call it.", shown="after the file"),
    json_output: bool = options.JSON,
) -> None:
    """Convert weights that lie elsewhere, so that --backbone finds them by name."""
    from vtrcli.model.models import import_weights

    _report("models import", name or path.stem, import_weights(path, name=name), json_output=json_output)


@app.command(cls=VtrCommand, epilog="Example: [bold]vtr models check ViT-B/32[/bold]")
def check(
    name: str = NAME_ARGUMENT,
    video: Path | None = opt("--video", "Compare on frames of this one.", shown="one that is made"),
    features: Path | None = opt(
        "--features", "Compare with these instead: .npy, frames x dimensions, of --video at --fps."
    ),
    fps: float = opt("--fps", "Frames per second of --features.", default=5.0, min=0.001),
    device: str = options.DEVICE,
    precision: options.Precision = options.PRECISION,
    json_output: bool = options.JSON,
) -> None:
    """Read every tensor and compare its checksum; then pixels and features of a few frames and texts with those of
    clip's or open_clip's own preprocessing and forward. Exit code 4 where they differ."""
    if features is not None and video is None:
        raise UsageError(
            "--features without --video",
            allowed="a video together with its known features",
            to_do="add --video, or leave --features out",
        )
    from vtrcli.model.models import check_weights, compare_with_golden, compare_with_original

    info = check_weights(name)
    height, width = info.frame_size
    body: dict[str, object] = {**vars(info)}
    rows = {
        "name": info.name,
        "weights": f"sound, SHA-256 {info.sha256}",
        "features": f"{info.dim} dimensions from frames of {width} x {height}",
        "logit scale": f"{info.logit_scale:.2f}",
    }
    failures: list[str] = []
    if video is not None and features is not None:
        golden = compare_with_golden(
            name, video=video, features=features, fps=fps, device=device, precision=precision
        )
        body["golden"] = vars(golden)
        rows["golden"] = (
            f"{golden.num_rows} frames, cosine {golden.min_cosine:.5f} to 1 ({golden.mean_cosine:.5f})"
        )
        if not golden.min_cosine >= MIN_GOLDEN_COSINE:  # NaN, too
            failures = [f"lowest cosine {golden.min_cosine:.4f}, not {MIN_GOLDEN_COSINE}"]
    else:
        compared = compare_with_original(name, video=video, device=device, precision=precision)
        body["original"] = vars(compared)
        rows |= _compared_rows(compared)
        failures = compared.failures
    if json_output:
        print_json("models check", body)
    else:
        print_rows(rows)
    if failures:
        raise WeightsError(
            f"features of {name} differ from {features or body['original']['library']}: {'; '.join(failures)}",  # type: ignore[index]
            allowed="the same features but for rounding",
            to_do="check that weights, config, frame rate and precision are those of the features"
            if features
            else "try --precision float32; else report it, with the versions of torch and of that library",
        )


def _compared_rows(compared: OriginalComparison) -> dict[str, str]:
    """What each side gave, in the words of the table."""
    pixels = "not compared: the video's pixels are not square"
    if compared.pixels_worst is not None:
        mean, worst = compared.pixels_mean, compared.pixels_worst
        pixels = f"differ by {mean:.2f} of 255 on average, {worst:.2f} in the worst frame"
    return {
        "against": f"{compared.library}, {compared.num_frames} frames, {compared.num_texts} texts; lowest cosines:",
        "pixels": pixels,
        "frames": f"{compared.same_pixels:.6f} on the same pixels, {compared.end_to_end:.6f} end to end",
        "texts": f"{compared.texts:.6f}",
        "precision": f"{compared.half_pixels:.6f} in {compared.precision} on {compared.device} (frames, same pixels)",
        "verdict": "the library's own features, but for rounding" if not compared.failures else "DIFFERENT",
    }


def _report(command: str, name: str, path: Path, *, json_output: bool) -> None:
    if json_output:
        print_json(command, {"name": name, "path": str(path)})
    else:
        print_line(f"{name} is ready: {home_relative(path)}")
