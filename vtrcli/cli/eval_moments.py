"""`vtr eval --moments`: what is evaluated, and the tables of windows, highlights and a searched corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vtrcli.cli import options
from vtrcli.cli.output import Column, ProgressBar, count, print_columns, print_json, say, stdout
from vtrcli.cli.settings import BARE_VALUE
from vtrcli.errors import UsageError

if TYPE_CHECKING:
    from vtrcli.evaluation.moments import MomentEvaluation
    from vtrcli.moments.metrics import Task

MOMENTS = "Moments"  # a panel of the help
# What is asked of both; whatever else `vtr eval` has ranks whole videos, and would change nothing here.
_OF_BOTH = set(
    "predictions truth store run dataset annotations split corpus first max_windows ties ap save_moments report "
    "save_ranks bootstrap seed tagger max_tokens allow_missing device json_output quiet".split()
)
_OF_STORE = "run corpus tagger max_tokens device".split()
PARTS = {
    "full": "all windows",
    "short": "up to 10 s",
    "middle": "10 to 30 s",
    "long": "over 30 s",
}


def require_layout(path: Path | None) -> None:
    """Raise UsageError before the work for a file of moments whose layout is not told by its name."""
    if path is not None and path.suffix not in (".jsonl", ".json"):
        raise UsageError(
            f"--save-moments {path}",
            allowed="a file that ends in .jsonl (QVHighlights) or .json (TVR): the ending is the layout",
            to_do=f"write --save-moments {path.with_suffix('.jsonl')}",
        )


def chosen_ties(ties: str | None, *, of_moments: bool) -> Any:
    """The rule for equal scores. Raises UsageError for one that has no meaning there."""
    default, other = ("listed", "average") if of_moments else ("average", "listed")
    if ties == other:
        raise UsageError(
            f"--ties {ties} {'with' if of_moments else 'without'} --moments",
            allowed=f"{default}, optimistic or pessimistic",
            to_do="choose one of them",
        )
    return ties or default


def moment_arguments(
    context: typer.Context,
    *,
    predictions: str,
    truth: Path | None,
    store: Path,
    run: str | None,
    dataset: str | None,
    annotations: Path | None,
    split: str,
    corpus: bool,
    tagger: str,
    max_tokens: int | None,
    device: str,
) -> dict[str, Any]:
    """What `vtrcli.api.evaluate_moments` is to be asked: predictions of a file, or of the store, against a truth from a
    file or of a data set.

    Raises:
        UsageError: options that do not fit together.
    """
    file = None if predictions == BARE_VALUE else Path(predictions)
    refuse_idle(context, file=file, truth=truth)
    about: dict[str, Any] = {"predictions": file, "truth": truth}
    if truth is None:
        if dataset is None or annotations is None:
            missing = "--dataset" if dataset is None else "--annotations"
            raise UsageError(
                f"neither --truth nor {missing} is set",
                allowed="--truth FILE, or a data set of moments with --dataset and --annotations",
                to_do="add --truth FILE",
            )
        chosen = None if _is_default(context, "split") else split
        about |= {"dataset": dataset, "annotations": annotations, "split": chosen}
    if file is None:
        # A run ranks whole videos: it is the corpus that it ranks, and it is not looked for.
        ranks = run if options.was_typed(context, "run") and run != "none" else None
        about |= {"store": store, "run": ranks, "corpus": corpus or ranks is not None}
        about |= {"tagger": tagger, "max_tokens": max_tokens, "device": device}
    elif options.was_typed(context, "store"):
        about["store"] = store
    return about


def _is_default(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is None or source.name == "DEFAULT"


def refuse_idle(context: typer.Context, *, file: Path | None, truth: Path | None) -> None:
    """Raise UsageError for an option that was typed and would change nothing."""
    others = [name for name in context.params if name not in _OF_BOTH]
    idle = [(others, "with --moments", "it is about whole videos")]
    if file is not None:
        idle.append((_OF_STORE, "with a file of moments", "what the file predicts is there already"))
    if truth is not None:
        names = ["dataset", "annotations", "split"]
        idle.append((names, "with --truth", "the truth is a file, or that of a data set"))
    for names, beside, why in idle:
        options.refuse_typed(context, names, beside=beside, allowed=why, to_do="leave one of the two out")


def answer_moments(
    evaluate: Callable[..., MomentEvaluation],
    files: dict[str, Path | None],
    *,
    json_output: bool,
    quiet: bool,
) -> None:
    """Evaluate, write the files of `write_files`, print. Raises UsageError before the work for one of no layout."""
    require_layout(files["save_moments"])
    with ProgressBar(unit="videos", quiet=quiet, transient=True) as bar:
        result = evaluate(on_progress=bar.update)
    write_files(result, **files)
    if json_output:
        print_json("eval", result.to_json())
    else:
        print_moments(result, quiet=quiet)


def write_files(
    result: MomentEvaluation, *, save_moments: Path | None, save_ranks: Path | None, report: Path | None
) -> None:
    """What was asked for beside the table."""
    if save_moments:
        from vtrcli.moments.files import write_predictions

        write_predictions(save_moments, result.inputs.predictions)
    if save_ranks:
        from vtrcli.evaluation.moments import write_scores

        write_scores(result, save_ranks)
    if report:
        from vtrcli.evaluation.report.moments import write_moment_report

        write_moment_report(result, report)


def print_moments(result: MomentEvaluation, *, quiet: bool) -> None:
    """What was evaluated, a table of windows, of highlights and of a searched corpus, and the notes."""
    from vtrcli.moments.metrics import TASKS

    inputs, truth = result.inputs, result.inputs.predictions.truth
    name = f"{inputs.dataset} {inputs.split} · " if inputs.dataset else ""
    videos = count(len(set(truth.video_ids)), "video")
    queries = f"{len(truth):,} quer{'y' if len(truth) == 1 else 'ies'}"
    say(
        f"{name}{inputs.model} · {queries} about {videos}, {len(truth.windows.values):,} true windows",
        quiet=quiet,
    )
    rows = {row["part"]: row for row in result.table()}
    windows = {part: rows[part] for part in PARTS if part in rows and rows[part]["num_queries"]}
    if windows:
        # One length is all of them.
        _print_windows(windows if len(windows) > 2 else {"full": windows["full"]})
    if "highlights" in rows:
        stdout().print()
        _print_highlights(rows["highlights"])
    tasks = {part: rows[part] for part in TASKS if part in rows}
    if tasks:
        stdout().print()
        _print_corpus(tasks)
    for line in (*_remarks(result), *(f"note: {note}" for note in result.notes)):
        say(line, quiet=quiet)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _interval(row: dict[str, Any], name: str) -> str:
    ends = row.get(f"{name}_ci95")
    return "" if ends is None else f"{ends[0]:.1f}-{ends[1]:.1f}"


def _print_windows(rows: dict[str, dict[str, Any]]) -> None:
    """R@1 and mAP with their intervals; R@5 leaves first where there is no room."""
    plan: list[tuple[str, str, int]] = [
        ("R1@0.3", "R1@0.3", 6),
        ("R1@0.5", "R1@0.5", 0),
        ("R1@0.5", "95 %", 7),
        ("R1@0.7", "R1@0.7", 0),
        ("R5@0.3", "R5@0.3", 1),
        ("R5@0.5", "R5@0.5", 3),
        ("R5@0.7", "R5@0.7", 2),
        ("mIoU", "mIoU", 0),
        ("mAP", "mAP", 0),
        ("mAP", "95 %", 8),
        ("mAP@0.5", "mAP@0.5", 5),
        ("mAP@0.75", "mAP@0.75", 4),
    ]
    columns = [Column("true windows"), Column("queries", is_right=True)]
    columns += [Column(heading, is_right=True, leaves=leaves) for _, heading, leaves in plan]
    cells = [
        [
            PARTS[part],
            f"{row['num_queries']:,}",
            *(_interval(row, name) if "%" in heading else _percent(row[name]) for name, heading, _ in plan),
        ]
        for part, row in rows.items()
    ]
    print_columns(columns, cells)


def _print_highlights(row: dict[str, Any]) -> None:
    from vtrcli.moments.metrics import SALIENCY_LEVELS

    columns = [Column("highlights from")]
    plan = (("mAP", 0), ("95 %", 1), ("HIT@1", 0), ("95 %", 2))
    columns += [Column(heading, is_right=True, leaves=leaves) for heading, leaves in plan]
    cells = []
    for level in SALIENCY_LEVELS:
        names = (f"{level} mAP", f"{level} HIT@1")
        cells.append(
            [level, *(text for name in names for text in (_percent(row[name]), _interval(row, name)))]
        )
    print_columns(columns, cells)


def _print_corpus(rows: Mapping[Task, dict[str, Any]]) -> None:
    from vtrcli.moments.metrics import CORPUS_AT, CORPUS_IOUS

    columns = [Column("over all videos"), Column("IoU", is_right=True)]
    columns += [Column(f"R@{k}", is_right=True) for k in CORPUS_AT]
    cells = []
    for task, row in rows.items():
        for iou in (None,) if task == "VR" else CORPUS_IOUS:
            at = "" if iou is None else f"@{iou:g}"
            cells.append([task, at[1:], *(_percent(row[f"R{k}{at}"]) for k in CORPUS_AT)])
    print_columns(columns, cells)


def _remarks(result: MomentEvaluation) -> list[str]:
    """What the intervals resample, and which conventions are not the reference's."""
    from vtrcli.moments.metrics import REFERENCE
    from vtrcli.ranking.metrics import MIN_CLUSTERS

    lines = []
    truth, how = result.inputs.predictions.truth, result.settings.conventions
    num = len(set(truth.video_ids))
    if result.settings.num_bootstrap and num < MIN_CLUSTERS:
        lines.append(
            f"no intervals: {count(num, 'video')}, and below {MIN_CLUSTERS} they would be too narrow"
        )
    elif result.settings.num_bootstrap and num < len(truth):
        lines.append(f"intervals resample {count(num, 'video')} with all their queries")
    other = [
        f"{name.replace('_', ' ')} {'all' if value is None else value}"
        for name, value in vars(how).items()
        if value != getattr(REFERENCE, name)
    ]
    if other:
        lines.append(f"not QVHighlights' conventions: {', '.join(other)}; published numbers do not compare")
    return lines
