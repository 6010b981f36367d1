"""`vtr models`: the backbones that are known and at hand."""

from __future__ import annotations

from pathlib import Path

import typer

from vtrcli.cli import options
from vtrcli.cli.options import arg, opt
from vtrcli.cli.output import (
    Column,
    byte_size,
    download_progress,
    home_relative,
    print_columns,
    print_json,
    print_line,
    print_rows,
    stdout,
)
from vtrcli.cli.settings import VtrCommand
from vtrcli.errors import UsageError, WeightsError

NAME = "models"
EPILOG = "Example: [bold]vtr models list[/bold]"
app = typer.Typer(
    no_args_is_help=True, help="Look after the backbones: which there are, download, import, check."
)

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
        Column("params", is_right=True, leaves=1),
        Column("dim", is_right=True, leaves=4),
        Column("input", is_right=True),
        Column("languages", leaves=2),
        Column("licence", leaves=3),
        Column("R@1", is_right=True),
        Column("state"),
        Column("size", is_right=True),
        Column("file", folds=True, style="dim"),
    ]
    rows = [
        (
            entry.name,
            f"{entry.parameters} M" if entry.parameters else "",
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
    video: Path | None = opt("--video", "A video whose features are known; needs --features."),
    features: Path | None = opt("--features", ".npy [num_frames, dim] of that video at --fps."),
    fps: float = opt("--fps", "Frames per second of --features.", default=5.0, min=0.001),
    device: str = options.DEVICE,
    json_output: bool = options.JSON,
) -> None:
    """Read every tensor and compare its checksum; with --video and --features, compare the features too."""
    if (video is None) != (features is None):
        given, missing = ("--video", "--features") if features is None else ("--features", "--video")
        raise UsageError(
            f"{given} without {missing}",
            allowed="a video together with its known features",
            to_do=f"add {missing}, or leave {given} out",
        )
    from vtrcli.model.models import check_weights

    info = check_weights(name)
    body: dict[str, object] = {**vars(info)}
    if video is not None and features is not None:
        from vtrcli.model.models import compare_with_golden

        compared = compare_with_golden(name, video=video, features=features, fps=fps, device=device)
        body["golden"] = vars(compared)
        if not compared.min_cosine >= MIN_GOLDEN_COSINE:  # NaN, too
            raise WeightsError(
                f"features of {name} differ from {features}: lowest cosine {compared.min_cosine:.4f}",
                allowed=f"cosines of at least {MIN_GOLDEN_COSINE}",
                to_do="check that the features were made with the same weights, frame rate and frames",
            )
    if json_output:
        print_json("models check", body)
        return
    height, width = info.frame_size
    rows = {
        "name": info.name,
        "weights": f"sound, SHA-256 {info.sha256}",
        "features": f"{info.dim} dimensions from frames of {width} x {height}",
        "logit scale": f"{info.logit_scale:.2f}",
    }
    if "golden" in body:
        rows["golden"] = (
            f"{compared.num_rows} frames, cosine {compared.min_cosine:.5f} to 1 ({compared.mean_cosine:.5f})"
        )
    print_rows(rows)


def _report(command: str, name: str, path: Path, *, json_output: bool) -> None:
    if json_output:
        print_json(command, {"name": name, "path": str(path)})
    else:
        print_line(f"{name} is ready: {home_relative(path)}")
