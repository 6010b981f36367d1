"""`vtr train`: train CAMoE on cached features, or with CLIP end to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vtrcli.api import train
from vtrcli.cli import completion, options
from vtrcli.cli.output import print_json, say
from vtrcli.cli.settings import newest_run, runs_folder
from vtrcli.cli.train_screen import Screen, print_result
from vtrcli.errors import EXIT_INTERRUPTED, UsageError, WeightsError

NAME = "train"
EPILOG = "Example: [bold]vtr train --dataset msrvtt-1ka --annotations msrvtt/ --recipe msrvtt --out runs/first[/bold]"
LENGTHS = frozenset({"steps", "epochs"})


def command(
    context: typer.Context,
    store: options.Store = None,
    dataset: options.Dataset = None,
    annotations: options.Annotations = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="Run folder.", show_default="runs/TIME beside vtr.toml"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            autocompletion=completion.recipes,
            help="Published settings: msrvtt, msvd, lsmdc, didemo, activitynet, demo.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", min=1, help="Length, in whole epochs.", show_default="3,000, or the recipe's epochs"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Length, instead of --steps.", show_default="the recipe's"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=2, help="Pairs per step.", show_default="128, or the recipe's"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="Of the heads.", show_default="5e-4, or the recipe's"),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", min=0, show_default="0.2")] = None,
    warmup_share: Annotated[
        float | None, typer.Option("--warmup-share", help="Part of all steps.", show_default="0.1")
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Frames per video at most.", show_default="12")
    ] = None,
    max_tokens: options.MaxTokens = None,
    captions: Annotated[
        Literal["one", "all"] | None,
        typer.Option("--captions", help="One caption per video and epoch, or all pairs.", show_default="one"),
    ] = None,
    dsl_temperature: Annotated[
        float | None,
        typer.Option(
            "--dsl-temperature", help="Train with the Dual Softmax Loss.", show_default="off: InfoNCE"
        ),
    ] = None,
    experts: Annotated[
        str | None, typer.Option("--experts", help="Some of fusion,entity,action.", show_default="all three")
    ] = None,
    aggregator: Annotated[
        Literal["mean", "se", "attention"] | None,
        typer.Option("--aggregator", help="How an expert pools frames.", show_default="attention"),
    ] = None,
    gate: Annotated[
        Literal["video", "text", "uniform"] | None,
        typer.Option("--gate", help="What decides how the experts are mixed.", show_default="video"),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            min=1,
            metavar="STEPS",
            help="Stop after so many without gain.",
            show_default="1,500, or none with a recipe",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=options.MAX_SEED, show_default="42")
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"] | None,
        typer.Option("--precision", help="auto: bfloat16 on a GPU.", show_default="auto"),
    ] = None,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train CLIP too, from kept frames (extract --keep-frames).")
    ] = False,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            autocompletion=completion.backbones,
            help="What --finetune starts from.",
            show_default="the store's",
        ),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Take the backbone's sizes alone, with random weights.")
    ] = False,
    backbone_learning_rate: Annotated[
        float | None,
        typer.Option(
            "--backbone-learning-rate", help="Of CLIP.", show_default="1e-7; from scratch the heads' rate"
        ),
    ] = None,
    freeze_layers: Annotated[
        int | None,
        typer.Option(
            "--freeze-layers", min=0, help="Of both towers, from the embeddings on.", show_default="0"
        ),
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third more time.")
    ] = False,
    tagger: options.Tagger = "hanta",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or the newest.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Train although the store lacks videos of the data set.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events (extra vtrcli[tensorboard]).")
    ] = False,
    device: options.Device = options.DEVICE_DEFAULT,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train CAMoE on cached features, or with CLIP end to end (--finetune). Ctrl-C saves first.

    Captions that are not cached yet are encoded first. For several GPUs: torchrun --nproc-per-node N -m vtrcli train …
    """
    name, folder = options.require_dataset(dataset, annotations)
    changes: dict[str, Any] = {
        "steps": steps,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_share": warmup_share,
        "num_frames": frames,
        "max_tokens": max_tokens,
        "captions": captions,
        "dsl_temperature": dsl_temperature,
        "experts": tuple(experts.replace(" ", "").split(",")) if experts else None,
        "aggregator": aggregator,
        "gate": gate,
        "patience": patience,
        "seed": seed,
        "precision": precision,
        "finetune": finetune or None,
        "from_scratch": from_scratch or None,
        "backbone_learning_rate": backbone_learning_rate,
        "freeze_layers": freeze_layers,
        "gradient_checkpointing": gradient_checkpointing or None,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    typed = {key for key in given if options.was_typed(context, "frames" if key == "num_frames" else key)}
    given = one_length(given, typed)
    if resume:
        require_resumable(typed | ({"recipe"} if options.was_typed(context, "recipe") else set()))
    if resume:  # the rest stands in its config.json
        given = {key: given[key] for key in LENGTHS & typed}
    if options.was_typed(context, "backbone") and not (finetune or resume):
        raise UsageError(
            "--backbone without --finetune",
            allowed="training on cached features takes the store's backbone",
            to_do="add --finetune, or make a store of that backbone with `vtr cache --backbone … --out …`",
        )
    is_first = os.environ.get("RANK", "0") == "0"  # torchrun numbers its processes
    screen = Screen(quiet=quiet or json_output or not is_first)
    with (
        run_folder(out, resume=resume) as run,
        stop_on_signal() as should_stop,
        screen,
        said_of_options(given),
    ):
        result = train(
            options.store_path(store),
            dataset=name,
            annotations=folder,
            out=run,
            recipe=recipe,
            backbone=backbone,
            tagger=tagger,
            device=device,
            resume=resume,
            allow_missing=allow_missing,
            tensorboard=tensorboard,
            should_stop=should_stop,
            display=screen.display(),
            **given,
        )
    if is_first and json_output:
        print_json(NAME, result.to_json())
    elif is_first:
        print_result(result)
    if result.was_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def flag_of(setting: str) -> str:
    """The option that gives a training setting."""
    return "--frames" if setting == "num_frames" else f"--{setting.replace('_', '-')}"


@contextmanager
def said_of_options(settings: Collection[str]) -> Iterator[None]:
    """What is wrong with one of the settings is said of its option. Raises UsageError."""
    try:
        yield
    except UsageError as error:
        for name in settings:
            if error.to_do == f"change {name}":
                error.came_in = error.came_in.replace(name, flag_of(name), 1)
                error.to_do = f"change {flag_of(name)}"
                break
        raise


def one_length(given: dict[str, Any], typed: set[str]) -> dict[str, Any]:
    """The options without a second length: what is typed wins over vtr.toml. Raises UsageError for two that are."""
    if not given.keys() >= LENGTHS:
        return given
    if len(LENGTHS & typed) != 1:
        raise UsageError(
            "--steps together with --epochs", allowed="one length of a run", to_do="leave one of them out"
        )
    return {key: value for key, value in given.items() if key not in LENGTHS - typed}


def require_resumable(typed: set[str]) -> None:
    """Raises UsageError for options that a resumed run has in its config.json; vtr.toml is for new runs."""
    clashing = typed - LENGTHS
    if clashing:
        raise UsageError(
            f"--resume together with {', '.join(sorted(map(flag_of, clashing)))}",
            allowed="a resumed run keeps the settings of its config.json; --epochs or --steps may make it longer",
            to_do="leave them out, or begin a new run with another --out",
        )


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C, SIGTERM or SIGHUP asks the run to save and stop; the second one ends it at once."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        say("stopping after this step; once more to stop at once")

    numbers = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:  # nohup
        numbers.append(hang_up)
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def run_folder(given: Path | None, *, resume: bool) -> Iterator[Path]:
    """`given`, else the newest run to resume, else runs/2026-01-31T12-00-00 beside vtr.toml, or here.

    A new folder is made at once, so that two runs never share one, and removed if nothing was written.

    Raises:
        UsageError: no run to resume; or several processes, whose clocks would give several folders.
        WeightsError: the folder cannot be made.
    """
    if given is not None or resume:
        yield given or newest_run(Path.cwd())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "several processes and no --out",
            allowed="one run folder for all of them",
            to_do="add --out RUN",
        )
    run = new_folder(runs_folder(Path.cwd()), datetime.now().strftime("%Y-%m-%dT%H-%M-%S"))
    try:
        yield run
    finally:
        with suppress(OSError):  # it holds a run
            run.rmdir()


def new_folder(parent: Path, name: str) -> Path:
    """Make parent/name, or parent/name-2, parent/name-3 … where others were first. Raises WeightsError."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number, folder = 1, parent / name
        while True:
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
            number, folder = number + 1, parent / f"{name}-{number + 1}"
    except OSError as cause:
        raise WeightsError(
            f"cannot make a run folder in {parent}: {cause.strerror}",
            allowed="a folder that can be written",
            to_do="choose another with --out",
        ) from cause
