"""`vtr eval`: metrics in both directions, plain and corrected side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vtrcli.api import evaluate
from vtrcli.cli import completion, options
from vtrcli.cli.output import count, print_json, say, stdout
from vtrcli.errors import UsageError

if TYPE_CHECKING:
    from vtrcli.evaluation.run import EvaluationResult
    from vtrcli.ranking.evaluate import Evaluation

NAME = "eval"
EPILOG = "Example: [bold]vtr eval --similarities matrix.npy --dsl --arrivals 1,16,256,1000[/bold]"
DEFAULT_SWEEP = "0.25,0.5,1,2,5,10,100"
METHOD_HELP = (
    "A correction, may be repeated: dsl, inverted-softmax, sinkhorn, csls, qb-norm, nnn, mutual-softmax."
)


def command(
    context: typer.Context,
    store: options.Store = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            autocompletion=completion.runs,
            metavar="RUN",
            help="Trained run, or none for zero-shot.",
            show_default="the newest",
        ),
    ] = None,
    dataset: options.Dataset = None,
    annotations: options.Annotations = None,
    split: Annotated[str, typer.Option("--split", help="Split to evaluate.")] = "test",
    similarities: Annotated[
        Path | None,
        typer.Option("--similarities", help="Any model's matrix [texts, videos]: .npy .npz .safetensors .pt"),
    ] = None,
    text_vectors: Annotated[
        Path | None,
        typer.Option("--text-vectors", help="[texts, dim], with --video-vectors instead of a matrix."),
    ] = None,
    video_vectors: Annotated[Path | None, typer.Option("--video-vectors", help="[videos, dim].")] = None,
    text_to_video: Annotated[
        Path | None,
        typer.Option(
            "--text-to-video",
            help="Index of each text's video: .txt .csv .json .npy",
            show_default="diagonal",
        ),
    ] = None,
    dsl: Annotated[bool, typer.Option("--dsl", help="Dual softmax as well; short for --method dsl.")] = False,
    method: Annotated[
        list[str] | None, typer.Option("--method", autocompletion=completion.methods, help=METHOD_HELP)
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Of the corrections, on logit scale x score.")
    ] = 1.0,
    logit_scale: Annotated[
        float | None,
        typer.Option(
            "--logit-scale",
            help="What scores are multiplied by.",
            show_default="the model's own, else detected",
        ),
    ] = None,
    bank: Annotated[
        str,
        typer.Option(
            "--bank", help="test: the test queries themselves. train, or a FILE of bank scores: usable live."
        ),
    ] = "test",
    k: Annotated[
        int | None, typer.Option("--k", min=1, help="Neighbours, for csls, nnn and qb-norm.")
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", help="Weight of the neighbours' mean, for nnn; the paper has 0.75.")
    ] = 0.25,
    ties: Annotated[
        Literal["average", "optimistic", "pessimistic"],
        typer.Option("--ties", help="Rank among equal scores."),
    ] = "average",
    v2t_over: Annotated[
        Literal["videos", "captions"] | None,
        typer.Option(
            "--v2t-over",
            help="What video-to-text ranks: videos, each by its best caption, or captions.",
            show_default="videos, where a video has several captions",
        ),
    ] = None,
    arrivals: Annotated[
        str | None, typer.Option("--arrivals", help="Queries in batches of these sizes: 1,16,256,1000")
    ] = None,
    sweep: Annotated[
        str | None, typer.Option("--sweep", help=f"Temperatures to try; all for {DEFAULT_SWEEP}")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write a self-contained page.")] = None,
    save_similarities: Annotated[
        Path | None,
        typer.Option(
            "--save-similarities", help="Write the matrix as .npy; --similarities reads it with its truth."
        ),
    ] = None,
    save_ranks: Annotated[
        Path | None,
        typer.Option("--save-ranks", help="Write every query's ranks as JSON, for `vtr compare`."),
    ] = None,
    memory: Annotated[
        float, typer.Option("--memory", min=0.01, max=100_000, help="Gigabytes for blocks in work.")
    ] = 1.0,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Resamples for the intervals; 0: none.")
    ] = 1000,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=options.MAX_SEED, help="Of resampling and shuffling.")
    ] = 0,
    tagger: options.Tagger = "hanta",
    max_tokens: options.MaxTokens = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Evaluate although the store lacks videos of the split.")
    ] = False,
    device: options.Device = options.DEVICE_DEFAULT,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate retrieval in both directions: a data set through a store and a run, or any model's matrix."""
    for path in (report, save_ranks, save_similarities):
        options.require_folder_of(path)
    methods = [*(["dsl"] if dsl else []), *(method or [])]
    from_files = bool(similarities or text_vectors or video_vectors)
    refuse_idle_options(context, methods, from_files=from_files)
    if save_similarities and save_similarities.suffix != ".npy":
        raise UsageError(
            f"--save-similarities {save_similarities}",
            allowed="a file that ends in .npy",
            to_do=f"write --save-similarities {save_similarities.with_suffix('.npy')}",
        )
    about: dict[str, Any] = {"text_to_video": text_to_video}
    if not from_files:
        name, annotations = options.require_dataset(dataset, annotations)
        folder = options.store_path(store)
        about = {"store": folder, "dataset": name, "run": run_to_evaluate(folder, run, quiet=quiet)}
    result = evaluate(
        similarities,
        text_vectors=text_vectors,
        video_vectors=video_vectors,
        bank=bank,
        annotations=annotations,
        split=split,
        tagger=tagger,
        max_tokens=max_tokens,
        allow_missing=allow_missing,
        device=device,
        methods=methods,  # type: ignore[arg-type]
        temperature=temperature,
        logit_scale=logit_scale,
        v2t_over=v2t_over,
        ties=ties,
        k=k,
        alpha=alpha,
        arrival_sizes=tuple(int(value) for value in numbers(arrivals, "--arrivals", whole=True)),
        sweep_temperatures=numbers(DEFAULT_SWEEP if sweep == "all" else sweep, "--sweep"),
        num_bootstrap=bootstrap,
        memory_bytes=int(memory * 1e9),
        seed=seed,
        **about,
    )
    if save_similarities:
        from vtrcli.evaluation.inputs import save_matrix

        save_matrix(result.inputs, save_similarities)
    if save_ranks:
        from vtrcli.evaluation.ranks_file import write_ranks

        write_ranks(result, save_ranks)
    if report:
        from vtrcli.evaluation.report.page import write_report

        write_report(result, report)
    if json_output:
        print_json(NAME, result.to_json())
    else:
        print_result(result, quiet=quiet)


def refuse_idle_options(context: typer.Context, methods: list[str], *, from_files: bool) -> None:
    """Raise UsageError for an option that was typed and would change nothing."""
    corrects = any(method != "none" for method in methods)
    for name in ("arrivals", "sweep"):
        if options.was_typed(context, name) and not corrects:
            raise UsageError(
                f"--{name} without a method",
                allowed="it shows how a correction behaves",
                to_do="add --dsl or --method",
            )
    idle = (
        ("store", "run", "dataset", "annotations", "split", "max_tokens")
        if from_files
        else ("text_to_video",)
    )
    for name in idle:
        if options.was_typed(context, name):
            raise UsageError(
                f"--{name.replace('_', '-')} with {'scores from files' if from_files else 'a data set'}",
                allowed="a data set through a store, or scores from files (--similarities, --text-vectors)",
                to_do="keep one of the two",
            )


def run_to_evaluate(store: Path, run: str | None, *, quiet: bool) -> Path | None:
    """The run that was named, else the newest beside vtr.toml that fits; None for zero-shot."""
    from vtrcli.cli.settings import newest_run_of
    from vtrcli.store.config import read_config

    if run is not None:
        return None if run == "none" else Path(run)
    newest = newest_run_of(store, read_config(store).backbone, quiet=quiet)
    if newest is None:
        say("no trained run here: zero-shot, mean of frames (`vtr train` trains one)", quiet=quiet)
    return newest


def numbers(text: str | None, option: str, *, whole: bool = False) -> tuple[float, ...]:
    """1,16,256 as numbers. Raises UsageError for anything else."""
    if text is None:
        return ()
    try:
        values = tuple(float(int(part)) if whole else float(part) for part in text.split(","))
        if any(not value > 0 for value in values):
            raise ValueError
        return values
    except ValueError:
        raise UsageError(
            f"{option} {text}",
            allowed="whole numbers above 0, separated by commas"
            if whole
            else "numbers above 0, separated by commas",
            to_do=f"write for example {option} {'1,16,256' if whole else '0.5,1,2'}",
        ) from None


def print_result(result: EvaluationResult, *, quiet: bool) -> None:
    """What was evaluated, the table, and the tables of arrivals and sweep where they were asked for."""
    inputs, first = result.inputs, result.evaluations[0]
    what = f"{inputs.dataset} {inputs.split} · " if inputs.dataset else ""
    if inputs.max_tokens is not None:
        what += f"{inputs.max_tokens} tokens of a text · "
    ties = first.t2v.num_ties + (first.v2t.num_ties if first.v2t else 0)
    say(
        f"{what}{inputs.model} · {count(first.num_texts, 'text')} x {count(first.num_videos, 'video')} · "
        f"ties {first.ties} ({ties:,}) · logit scale {first.logit_scale:g}",
        quiet=quiet,
    )
    _print_table(result.evaluations, has_several=inputs.truth.has_several_texts)
    for line in _meanings(result):
        say(line, quiet=quiet)
    for (method, direction), rows in result.arrivals.items():
        shuffles = max(row.num_shuffles for row in rows)
        stdout().print()
        stdout().print(f"{direction} with {method}, queries in batches (mean of {shuffles} shuffles), R@1:")
        for arrival in rows:
            stdout().print(f"{arrival.batch_size:>8,}  {arrival.recall[1]:5.1f}")
    for method, swept in result.sweeps.items():
        stdout().print()
        stdout().print(f"{method} by temperature, R@1:")
        for evaluation in swept:
            v2t = f"  v2t {evaluation.v2t.recall[1]:5.1f}" if evaluation.v2t else ""
            stdout().print(f"{evaluation.temperature:>8g}  t2v {evaluation.t2v.recall[1]:5.1f}{v2t}")
    for note in result.notes:
        say(f"note: {note}", quiet=quiet)


def _meanings(result: EvaluationResult) -> list[str]:
    """What the ranks count and what the intervals resample, where it is not just queries."""
    from vtrcli.ranking.metrics import MIN_CLUSTERS

    first, lines = result.evaluations[0], []
    if result.inputs.truth.has_several_texts and first.v2t is not None:
        over = first.v2t.over
        how = "videos, each by its best caption" if over == "videos" else "captions"
        other = "captions" if over == "videos" else "videos"
        lines.append(f"v2t ranks {how} (--v2t-over {other}: the other way)")
    if result.options.num_bootstrap:
        num = first.t2v.num_clusters
        if num < MIN_CLUSTERS:
            lines.append(
                f"no intervals: {count(num, 'video')}, and below {MIN_CLUSTERS} they would be too narrow"
            )
        elif num < first.t2v.num_queries:
            lines.append(f"intervals resample {count(num, 'video')} with all their captions")
    return lines


def _print_table(evaluations: tuple[Evaluation, ...], *, has_several: bool) -> None:
    from vtrcli.cli.console import Column, print_columns

    # On a narrow terminal the less usual metrics go first; --json has all.
    leaves = {"R@50": 1, "MRR": 2, "95 %": 3}
    headings = ("T", "R@1", "95 %", "R@5", "R@10", "R@50", "MdR", "MnR", "MRR")
    columns = [
        Column("", short=lambda text: text.partition(" ")[0]),
        Column("method"),
        *(Column(name, is_right=True, leaves=leaves.get(name, 0)) for name in headings),
        Column("queries seen", short=lambda text: text.removesuffix(" (transductive)")),
    ]
    rows = []
    for direction in ("t2v", "v2t"):
        for evaluation in evaluations:
            metrics = getattr(evaluation, direction)
            if metrics is None:
                continue
            low, high = metrics.recall_ci95.get(1, (None, None))
            interval = "" if low is None else f"{low:.1f}-{high:.1f}"
            recalls = [f"{metrics.recall[k]:.1f}" for k in (5, 10, 50)]
            seen = "one at a time" if not evaluation.transductive else "all at once (transductive)"
            temperature = "" if evaluation.temperature is None else f"{evaluation.temperature:g}"
            name = f"v2t {metrics.over}" if direction == "v2t" and has_several else direction
            rows.append((
                name, evaluation.method, temperature, f"{metrics.recall[1]:.1f}", interval, *recalls,
                f"{metrics.median_rank:g}", f"{metrics.mean_rank:.3f}", f"{metrics.mrr:.3f}", seen,
            ))  # fmt: skip
    print_columns(columns, rows)
