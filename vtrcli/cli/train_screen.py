"""What a person sees of a training run: a line of facts, a bar per epoch, a table row per epoch, the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vtrcli.cli.output import count, home_relative, say, stdout
from vtrcli.cli.progress import StepBar
from vtrcli.times import clock

if TYPE_CHECKING:
    from vtrcli.model.run_folder import RunConfig
    from vtrcli.training.record import EpochReport
    from vtrcli.training.train import Display, TrainResult


class Screen:
    """What a person sees of a run: a line of facts, a bar per epoch, a table row per epoch."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar = StepBar(unit="steps", quiet=quiet, transient=True)
        self._captions = StepBar(unit="captions", quiet=quiet)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self._captions.finish()
        self._bar.finish()

    def display(self) -> Display:
        """The functions that `train` calls."""
        from vtrcli.training.train import Display

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
    stdout().print(
        f"{what} {count(result.epochs, 'epoch')} in {clock(result.seconds)}, kept epoch {result.best_epoch}: "
        f"{recall} on validation · {home_relative(result.run)}",
        soft_wrap=True,
    )
    if result.best_epoch == 0 and not result.was_interrupted:
        say(
            "note: training did not help: the untrained model was best. Try more --steps or a higher --learning-rate."
        )
