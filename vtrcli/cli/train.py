"""`vtr train`: train CAMoE on cached features, or with the backbone end to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vtrcli.api import train
from vtrcli.cli import options
from vtrcli.cli.options import flag, opt
from vtrcli.cli.output import ProgressBar, count, home_relative, print_json, print_line, say
from vtrcli.cli.runs import newest_run, runs_folder
from vtrcli.errors import EXIT_INTERRUPTED, UsageError, WeightsError
from vtrcli.model.train_settings import Aggregator, Captions, Gate, Precision, TrainSettings
from vtrcli.text.streams import TaggerName
from vtrcli.times import clock

if TYPE_CHECKING:
    from vtrcli.model.runs import RunConfig
    from vtrcli.training.record import Display, EpochReport, TrainResult


NAME = "train"
EPILOG = "Example: [bold]vtr train --dataset msrvtt-1ka --annotations msrvtt/ --recipe msrvtt --out runs/first[/bold]"
DEFAULTS = TrainSettings()
LENGTHS = frozenset({"steps", "epochs"})


def command(
    context: typer.Context,
    store: Path = options.STORE,
    dataset: str | None = options.DATASET,
    annotations: Path | None = options.ANNOTATIONS,
    out: Path | None = opt("--out RUN", "Run folder.", shown="runs/TIME beside vtr.toml"),
    recipe: str | None = opt(
        "--recipe", "Published settings: msrvtt, msvd, lsmdc, didemo, activitynet, demo."
    ),
    steps: int | None = opt(
        "--steps", "Length, in whole epochs.", min=1, shown=f"{DEFAULTS.steps:,}, or the recipe's epochs"
    ),
    epochs: int | None = opt("--epochs", "Length, instead of --steps.", min=1, shown="the recipe's"),
    batch_size: int | None = opt(
        "--batch-size", "Pairs per step.", min=2, shown=f"{DEFAULTS.batch_size}, or the recipe's"
    ),
    learning_rate: float | None = opt("--learning-rate", "Of the heads.", shown="5e-4, or the recipe's"),
    weight_decay: float | None = opt("--weight-decay", min=0, shown=DEFAULTS.weight_decay),
    warmup_share: float | None = opt("--warmup-share", "Part of all steps.", shown=DEFAULTS.warmup_share),
    frames: int | None = opt("--frames", "Frames per video at most.", min=1, shown=DEFAULTS.num_frames),
    max_tokens: int | None = options.MAX_TOKENS,
    captions: Captions | None = opt(
        "--captions", "One caption per video and epoch, or all pairs.", shown=DEFAULTS.captions
    ),
    dsl_temperature: float | None = opt(
        "--dsl-temperature", "Train with the Dual Softmax Loss.", shown="off: InfoNCE"
    ),
    experts: str | None = opt("--experts", "Some of fusion,entity,action.", shown="all three"),
    aggregator: Aggregator | None = opt(
        "--aggregator", "How an expert pools frames.", shown=DEFAULTS.aggregator
    ),
    gate: Gate | None = opt("--gate", "What decides how the experts are mixed.", shown=DEFAULTS.gate),
    patience: int | None = opt(
        "--patience STEPS",
        "Stop after so many without gain.",
        min=1,
        shown=f"{DEFAULTS.patience:,}, or none with a recipe",
    ),
    seed: int | None = opt("--seed", min=0, max=options.MAX_SEED, shown=DEFAULTS.seed),
    precision: Precision | None = opt("--precision", "auto: bfloat16 on a GPU.", shown=DEFAULTS.precision),
    finetune: bool = flag("--finetune", "Train the backbone too, from kept frames (extract --keep-frames)."),
    backbone: str | None = opt("--backbone", "What --finetune starts from.", shown="the store's"),
    from_scratch: bool = flag("--from-scratch", "Take the backbone's sizes alone, with random weights."),
    backbone_learning_rate: float | None = opt(
        "--backbone-learning-rate", "Of CLIP.", shown="1e-7; from scratch the heads' rate"
    ),
    freeze_layers: int | None = opt(
        "--freeze-layers", "Of both towers, from the embeddings on.", min=0, shown=DEFAULTS.freeze_layers
    ),
    gradient_checkpointing: bool = flag("--gradient-checkpointing", "Less memory, a third more time."),
    chunk_size: int | None = opt(
        "--chunk-size", "Pairs encoded at a time, for batches beyond memory.", min=1, shown="all of the batch"
    ),
    tagger: TaggerName = options.TAGGER,
    resume: bool = flag("--resume", "Go on with the run in --out, or the newest."),
    allow_missing: bool = flag("--allow-missing", "Train although the store lacks videos of the data set."),
    tensorboard: bool = flag("--tensorboard", "Write TensorBoard events (needs the extra tensorboard)."),
    device: str = options.DEVICE,
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Train CAMoE on cached features, or with the backbone end to end (--finetune). Ctrl-C saves first.

    Captions that are not cached yet are encoded first. For several GPUs: torchrun --nproc-per-node N -m vtrcli train …
    """
    name, folder = options.require_dataset(dataset, annotations)
    given = settings_given(context)
    typed = {option for option in given if options.was_typed(context, option)}
    given = one_length(given, typed)
    if resume:  # all but the length stands in its config.json
        require_resumable(typed | ({"recipe"} if options.was_typed(context, "recipe") else set()))
        given = {option: given[option] for option in LENGTHS & typed}
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
            store,
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


def settings_given(context: typer.Context) -> dict[str, Any]:
    """The options that are training settings, where they were given; the arguments of `vtr.train`."""
    names = {field.name for field in fields(TrainSettings)} | {"frames"}
    values = {name: value for name, value in context.params.items() if name in names}
    if values["experts"]:
        values["experts"] = tuple(values["experts"].replace(" ", "").split(","))
    return {name: value for name, value in values.items() if value is not None and value is not False}


def flag_of(option: str) -> str:
    """The option as it is typed."""
    return f"--{option.replace('_', '-')}"


@contextmanager
def said_of_options(given: Collection[str]) -> Iterator[None]:
    """What is wrong with one of the settings is said of its option. Raises UsageError."""
    try:
        yield
    except UsageError as error:
        for option in given:
            setting = "num_frames" if option == "frames" else option
            if error.to_do == f"change {setting}":
                error.came_in = error.came_in.replace(setting, flag_of(option), 1)
                error.to_do = f"change {flag_of(option)}"
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
    signals: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)
        say("stopping after this step; once more to stop at once")

    numbers = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:  # nohup
        numbers.append(hang_up)
    handlers = [signal.signal(number, ask) for number in numbers]
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
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
            "several processes and no --out", allowed="one run folder for all of them", to_do="add --out RUN"
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


class Screen:
    """What a person sees of a run: a line of facts, a bar per epoch, a table row per epoch."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar = ProgressBar(unit="steps", quiet=quiet, transient=True)
        self._captions = ProgressBar(unit="captions", quiet=quiet)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self._captions.finish()
        self._bar.finish()

    def display(self) -> Display:
        """The functions that `train` calls."""
        from vtrcli.training.record import Display

        return Display(
            note=lambda text: say(text, quiet=self._quiet),
            cache_progress=self._captions.update,
            begin=self.begin,
            step=lambda step, num_steps, loss: self._bar.update(step, num_steps, f"loss {loss:.3f}"),
            epoch=self.epoch,
        )

    def begin(self, config: RunConfig) -> None:
        """What is trained on what."""
        self._captions.finish()
        settings = config.settings
        loss = "InfoNCE" if settings.dsl_temperature is None else f"DSL at {settings.dsl_temperature:g}"
        parts = [
            f"{count(config.num_train_videos, 'video')}, {count(config.num_train_texts, 'caption')}",
            f"validation {config.num_val_videos:,}",
            f"{'+'.join(settings.experts)}, {settings.aggregator}, gate {settings.gate}",
            loss,
        ]
        if config.started_from is not None:
            parts.append(f"with CLIP, {config.started_from}")
        say(" · ".join(parts), quiet=self._quiet)
        say("epoch   step   loss   t2v R@1   R@5  R@10   v2t R@1   R@5  R@10   grad  time", quiet=self._quiet)

    def epoch(self, report: EpochReport) -> None:
        """One row; a star marks the best so far."""
        self._bar.finish()
        loss = "  -   " if report.loss is None else f"{report.loss:6.3f}"
        widths = {"R@1": 7, "R@5": 5, "R@10": 5}
        recalls = "   ".join(
            " ".join(f"{report.val[direction][name]:{width}.1f}" for name, width in widths.items())
            for direction in ("t2v", "v2t")
        )
        norm = "    -" if report.gradient_norm is None else f"{report.gradient_norm:5.2f}"
        star = " *" if report.is_best else ""
        say(
            f"{report.epoch:5d} {report.step:6d} {loss}  {recalls}  {norm}  {clock(report.seconds)}{star}",
            quiet=self._quiet,
        )


def print_result(result: TrainResult) -> None:
    """Where the run lies and what it reached."""
    recall = ", ".join(f"{way} R@1 {result.val[way]['R@1']:.1f}" for way in ("t2v", "v2t") if result.val)
    what = "stopped" if result.was_interrupted else "trained"
    print_line(
        f"{what} {count(result.epochs, 'epoch')} in {clock(result.seconds)}, kept epoch {result.best_epoch}: "
        f"{recall} on validation · {home_relative(result.run)}"
    )
    if result.best_epoch == 0 and not result.was_interrupted:
        say(
            "note: training did not help: the untrained model was best. Try more --steps or a higher --learning-rate."
        )
