"""`vtr train`: train CAMoE on cached features."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vtrcli.cli import options
from vtrcli.cli.output import clock, count, home_relative, print_json, say, stdout
from vtrcli.cli.progress import StepBar
from vtrcli.cli.settings import find_settings
from vtrcli.errors import EXIT_INTERRUPTED, UsageError

if TYPE_CHECKING:
    from vtrcli.training.loop import EpochReport
    from vtrcli.training.run_folder import RunConfig
    from vtrcli.training.session import TrainResult

NAME = "train"
EPILOG = "Example: [bold]vtr train --dataset msrvtt-1ka --annotations msrvtt/ --recipe msrvtt --out runs/first[/bold]"
RUNS_FOLDER = "runs"


def command(
    store: options.Store = None,
    dataset: options.Dataset = None,
    annotations: options.Annotations = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="Run folder.", show_default="runs/TIME beside vtr.toml"),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="Published settings: msrvtt, msvd, lsmdc, didemo, activitynet, demo."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, show_default="10, or the recipe's")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=2, help="Pairs per step.", show_default="128, or the recipe's"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="Of the heads.", show_default="1e-4, or the recipe's"),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", min=0, show_default="0.2")] = None,
    warmup_share: Annotated[
        float | None, typer.Option("--warmup-share", help="Part of all steps.", show_default="0.1")
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Frames per video at most.", show_default="12")
    ] = None,
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
        typer.Option("--patience", min=1, help="Stop after so many epochs without gain.", show_default="5"),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", show_default="42")] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"] | None,
        typer.Option("--precision", help="auto: bfloat16 on a GPU.", show_default="auto"),
    ] = None,
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
    """Train CAMoE on cached features; captions that are not cached yet are encoded first. Ctrl-C saves first."""
    name, folder = options.require_dataset(dataset, annotations)
    changes: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_share": warmup_share,
        "num_frames": frames,
        "captions": captions,
        "dsl_temperature": dsl_temperature,
        "experts": tuple(experts.replace(" ", "").split(",")) if experts else None,
        "aggregator": aggregator,
        "gate": gate,
        "patience": patience,
        "seed": seed,
        "precision": precision,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    if resume and (given or recipe):
        raise UsageError(
            f"--resume together with {', '.join(sorted(given) or ['recipe'])}",
            allowed="a resumed run keeps the settings of its config.json",
            to_do="leave them out, or begin a new run with another --out",
        )
    from vtrcli.training.run import train
    from vtrcli.training.settings import recipe_settings

    settings = recipe_settings(recipe, given)
    run = out or (newest_run(Path.cwd()) if resume else new_run())
    screen = Screen(quiet=quiet or json_output)
    with stop_on_signal() as should_stop, screen:
        result = train(
            store=options.store_path(store),
            dataset=name,
            annotations=folder,
            out=run,
            settings=settings,
            recipe=recipe,
            tagger=tagger,
            device=device,
            resume=resume,
            allow_missing=allow_missing,
            tensorboard=tensorboard,
            should_stop=should_stop,
            display=screen.display(),
        )
    if json_output:
        print_json(NAME, result_json(result))
    else:
        print_result(result)
    if result.was_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM asks the run to save and stop; the second one ends it at once."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        say("stopping after this step; once more to stop at once")

    numbers = [signal.SIGINT, signal.SIGTERM]
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def new_run() -> Path:
    """runs/2026-01-31T12-00-00 beside vtr.toml, or here."""
    settings = find_settings(Path.cwd())
    base = settings.parent if settings else Path.cwd()
    return base / RUNS_FOLDER / datetime.now().strftime("%Y-%m-%dT%H-%M-%S")


def newest_run(start: Path) -> Path:
    """The newest run beside vtr.toml, or here.

    Raises:
        UsageError: there is none.
    """
    settings = find_settings(start)
    folder = (settings.parent if settings else start) / RUNS_FOLDER
    runs = sorted(path.parent for path in folder.glob("*/config.json"))
    if not runs:
        raise UsageError(
            f"no run in {folder}",
            allowed="a run made by `vtr train`",
            to_do="name it with --run (or --out for `vtr train --resume`), or train one",
        )
    return max(runs, key=lambda run: (run / "config.json").stat().st_mtime_ns)


class Screen:
    """What a person sees of a run: a line of facts, a bar per epoch, a table row per epoch."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar = StepBar(unit="steps", quiet=quiet)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.finish()

    def display(self) -> Any:
        """The functions that `train` calls."""
        from vtrcli.training.session import Display

        return Display(
            note=lambda text: say(text, quiet=self._quiet),
            cache_progress=self._bar.update,
            begin=self.begin,
            step=lambda step, num_steps, loss: self._bar.update(step, num_steps, f"loss {loss:.3f}"),
            epoch=self.epoch,
        )

    def begin(self, config: RunConfig) -> None:
        """What is trained on what."""
        self._bar.finish()
        settings = config.settings
        loss = "InfoNCE" if settings.dsl_temperature is None else f"DSL at {settings.dsl_temperature:g}"
        parts = [
            f"{count(config.num_train_videos, 'video')}, {count(config.num_train_texts, 'caption')}",
            f"validation {config.num_val_videos:,}",
            f"{'+'.join(settings.experts)}, {settings.aggregator}, gate {settings.gate}",
            loss,
        ]
        say(" · ".join(parts), quiet=self._quiet)
        say("epoch   loss   t2v R@1  R@5 R@10   v2t R@1  R@5 R@10   grad  time", quiet=self._quiet)

    def epoch(self, report: EpochReport) -> None:
        """One row; a star marks the best so far."""
        self._bar.finish()
        loss = "  -   " if report.loss is None else f"{report.loss:6.3f}"
        widths = {"R@1": 7, "R@5": 4, "R@10": 4}
        recalls = "   ".join(
            " ".join(f"{report.val[direction][name]:{width}.1f}" for name, width in widths.items())
            for direction in ("t2v", "v2t")
        )
        norm = "    -" if report.gradient_norm is None else f"{report.gradient_norm:5.2f}"
        star = " *" if report.is_best else ""
        say(f"{report.epoch:5d} {loss}  {recalls}  {norm}  {clock(report.seconds)}{star}", quiet=self._quiet)


def result_json(result: TrainResult) -> dict[str, Any]:
    """The keys of `vtr train --json`."""
    return {
        "run": str(result.run),
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "seconds": round(result.seconds, 3),
        "val": result.val,
        "interrupted": result.was_interrupted,
    }


def print_result(result: TrainResult) -> None:
    """Where the run lies and what it reached."""
    recall = ", ".join(f"{way} R@1 {result.val[way]['R@1']:.1f}" for way in ("t2v", "v2t") if result.val)
    what = "stopped" if result.was_interrupted else "trained"
    stdout().print(
        f"{what} {count(result.epochs, 'epoch')} in {clock(result.seconds)}, kept epoch {result.best_epoch}: "
        f"{recall} on validation · {home_relative(result.run)}",
        soft_wrap=True,
    )
