"""`vtr eval`: metrics in both directions, plain and corrected side by side."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from vtrcli.api import evaluate, evaluate_moments
from vtrcli.cli import options
from vtrcli.cli.eval_moments import MOMENTS, answer_moments, chosen_ties, moment_arguments
from vtrcli.cli.options import flag, opt, to_numbers
from vtrcli.cli.output import Column, count, print_columns, print_json, say, stdout
from vtrcli.cli.runs import chosen_run
from vtrcli.errors import UsageError
from vtrcli.text.streams import TaggerName

if TYPE_CHECKING:
    from vtrcli.evaluation.evaluate import EvaluationResult

NAME = "eval"
EPILOG = "Example: [bold]vtr eval --similarities matrix.npy --dsl --arrivals 1,16,256,1000[/bold]"
DEFAULT_SWEEP = "0.25,0.5,1,2,5,10,100"
METHOD_HELP = (
    "A correction, may be repeated: dsl, inverted-softmax, sinkhorn, csls, qb-norm, nnn, mutual-softmax."
)


def command(
    context: typer.Context,
    store: Path = options.STORE,
    run: str | None = opt("--run RUN", "Trained run, or none for zero-shot.", shown="the newest"),
    dataset: str | None = options.DATASET,
    annotations: Path | None = options.ANNOTATIONS,
    split: str = opt("--split", "Split to evaluate.", default="test"),
    predictions: str | None = opt(
        "--moments [FILE]",
        "Evaluate moments: predictions in QVHighlights' or TVR's layout, or without FILE those of the store.",
        MOMENTS,
    ),
    truth: Path | None = opt(
        "--truth FILE", "Queries with their true windows, in either layout or as .csv; or --dataset.", MOMENTS
    ),
    corpus: bool = flag(
        "--corpus", "Search all videos of the truth, too: VCMR and VR. Set by --run.", MOMENTS
    ),
    first: Literal["listed", "scored"] = opt(
        "--first",
        "The window that R@1 takes: the first listed, or the best scored.",
        MOMENTS,
        default="listed",
    ),
    max_windows: int = opt(
        "--max-windows", "Windows of a query that count; 0: all.", MOMENTS, default=10, min=0
    ),
    ap: Literal["interpolated", "plain"] = opt(
        "--ap", "Precision made monotone, or as it is.", MOMENTS, default="interpolated"
    ),
    save_moments: Path | None = opt(
        "--save-moments FILE", "Write windows and saliency: .jsonl as QVHighlights, .json as TVR.", MOMENTS
    ),
    similarities: Path | None = opt(
        "--similarities", "Any model's matrix, texts x videos: .npy .npz .safetensors .pt"
    ),
    text_vectors: Path | None = opt(
        "--text-vectors", "Texts x dimensions, with --video-vectors instead of a matrix."
    ),
    video_vectors: Path | None = opt("--video-vectors", "Videos x dimensions."),
    text_to_video: Path | None = opt(
        "--text-to-video", "Index of each text's video: .txt .csv .json .npy", shown="diagonal"
    ),
    trec: Path | None = opt(
        "--trec RUN", "A run: TREC, or ranx's .json or .parquet; also .gz. With --qrels."
    ),
    qrels: Path | None = opt("--qrels FILE", "Its truth: TREC, BEIR's .tsv, ranx's .json, or a BEIR folder."),
    relevant_from: int | None = opt("--relevant-from", "Lowest grade that is right.", shown="1"),
    num_videos: int | None = opt(
        "--num-videos", "How many were ranked.", shown="those that run and qrels name", min=1
    ),
    dsl: bool = flag("--dsl", "Dual softmax as well; short for --method dsl."),
    method: list[str] | None = opt("--method", METHOD_HELP),
    temperature: float = opt("--temperature", "Of the corrections, on logit scale x score.", default=1.0),
    logit_scale: float | None = opt(
        "--logit-scale", "What scores are multiplied by.", shown="the model's own, else detected"
    ),
    bank: str = opt(
        "--bank",
        "test: the test queries themselves. train, or a FILE of bank scores: usable live.",
        default="test",
    ),
    k: int | None = opt("--k", "Neighbours, for csls, nnn and qb-norm.", min=1),
    alpha: float = opt(
        "--alpha", "Weight of the neighbours' mean, for nnn; the paper has 0.75.", default=0.25
    ),
    ties: Literal["average", "optimistic", "pessimistic", "listed"] | None = opt(
        "--ties", "Rank among equal scores.", shown="average; of moments: listed"
    ),
    v2t_over: Literal["videos", "captions"] | None = opt(
        "--v2t-over",
        "What video-to-text ranks: videos, each by its best caption, or captions.",
        shown="videos, where a video has several captions",
    ),
    arrivals: str | None = opt("--arrivals", "Queries in batches of these sizes: 1,16,256,1000"),
    sweep: str | None = opt("--sweep", f"Temperatures to try; all for {DEFAULT_SWEEP}"),
    report: Path | None = opt("--report", "Write a self-contained page, .html."),
    save_similarities: Path | None = opt(
        "--save-similarities", "Write the matrix as .npy; --similarities reads it with its truth."
    ),
    save_ranks: Path | None = opt("--save-ranks", "Write what every query got as JSON, for `vtr compare`."),
    save_run: Path | None = opt("--save-run", "Write the plain scores as a run: .trec (TREC), .json (ranx)."),
    save_qrels: Path | None = opt(
        "--save-qrels", "Write the truth beside it: .trec, .tsv (BEIR), .json (ranx)."
    ),
    top: int | None = opt("--top", "Videos that --save-run lists for a text.", shown="all", min=1),
    save_mteb: Path | None = opt("--save-mteb DIR", "Write mteb's TaskResult, a file per direction."),
    table: Path | None = opt("--table", "Write the table as .tex, .md or .csv."),
    protocol: Literal["papers", "mteb"] = opt(
        "--protocol", "mteb: nDCG@10, v2t over captions, and what else differs there.", default="papers"
    ),
    metrics: str | None = opt("--metrics", "More metrics: nDCG@10,AP,RR,P@5,Recall@5,Success@5"),
    memory: float = opt("--memory", "Gigabytes for blocks in work.", default=1.0, min=0.01, max=100_000),
    bootstrap: int = opt("--bootstrap", "Resamples for the intervals; 0: none.", default=1000, min=0),
    seed: int = opt("--seed", "Of resampling and shuffling.", default=0, min=0, max=options.MAX_SEED),
    tagger: TaggerName = options.TAGGER,
    max_tokens: int | None = options.MAX_TOKENS,
    allow_missing: bool = flag(
        "--allow-missing", "Evaluate although the store lacks videos, or predictions lack queries."
    ),
    device: str = options.DEVICE,
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Evaluate retrieval in both directions: a data set through a store and a run, or any model's matrix.

    With --moments the windows inside the videos: anybody's predictions against a truth, or what the store answers.
    """
    written = (report, save_ranks, save_similarities, save_moments, save_run, save_qrels, save_mteb, table)
    for path in written:
        options.require_folder_of(path)
    options.require_ending(report, option="--report", endings=(".html", ".htm"))
    options.require_ending(save_ranks, option="--save-ranks", endings=(".json",))
    moments_file = None if predictions is None else Path(predictions)
    read = (similarities, text_vectors, video_vectors, text_to_video, trec, qrels, truth, moments_file)
    options.require_apart(written, read)
    if predictions is not None:
        asked = moment_arguments(
            context,
            predictions=predictions,
            truth=truth,
            store=store,
            run=run,
            dataset=dataset,
            annotations=annotations,
            split=split,
            corpus=corpus,
            tagger=tagger,
            max_tokens=max_tokens,
            device=device,
        )
        asked |= {
            "first": first,
            "max_windows": max_windows or None,
            "ties": chosen_ties(ties, of_moments=True),
        }
        asked |= {"ap": ap, "num_bootstrap": bootstrap, "seed": seed, "allow_missing": allow_missing}
        files = {"save_moments": save_moments, "save_ranks": save_ranks, "report": report}
        answer_moments(partial(evaluate_moments, **asked), files, json_output=json_output, quiet=quiet)
        return
    options.refuse_typed(
        context,
        ("truth", "corpus", "first", "max_windows", "ap", "save_moments"),
        beside="without --moments",
        allowed="it is about moments",
        to_do="add --moments",
    )
    require_formats(context, save_run=save_run, save_qrels=save_qrels, table=table)
    shown = [name for name in (metrics or "").split(",") if name.strip()]
    if protocol == "mteb":
        shown, v2t_over = ["nDCG@10", *shown], v2t_over or "captions"
    ties = chosen_ties(ties, of_moments=False)
    methods = [*(["dsl"] if dsl else []), *(method or [])]
    of_run = bool(trec or qrels or relevant_from is not None or num_videos)
    from_files = bool(similarities or text_vectors or video_vectors or of_run)
    has_split = qrels is not None and qrels.is_dir()
    refuse_idle_options(context, methods, from_files=from_files, has_split=has_split)
    if save_similarities and save_similarities.suffix != ".npy":
        raise UsageError(
            f"--save-similarities {save_similarities}",
            allowed="a file that ends in .npy",
            to_do=f"write --save-similarities {save_similarities.with_suffix('.npy')}",
        )
    about: dict[str, Any] = {"text_to_video": text_to_video}
    if of_run:
        about |= {"trec": trec, "qrels": qrels, "relevant_from": relevant_from, "num_videos": num_videos}
    if not from_files:
        name, annotations = options.require_dataset(dataset, annotations)
        ranks = chosen_run(run, store, quiet=quiet)
        if ranks is None and run is None:
            say("no trained run here: zero-shot, mean of frames (`vtr train` trains one)", quiet=quiet)
        about = {"store": store, "dataset": name, "run": ranks}
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
        arrival_sizes=tuple(int(value) for value in to_numbers(arrivals, option="--arrivals", whole=True)),
        sweep_temperatures=to_numbers(DEFAULT_SWEEP if sweep == "all" else sweep, option="--sweep"),
        num_bootstrap=bootstrap,
        metrics=(*shown, *(mteb_metrics() if save_mteb else ())),
        memory_bytes=int(memory * 1e9),
        seed=seed,
        **about,
    )
    if protocol == "mteb":
        from vtrcli.evaluation.protocol import mteb_differs

        result = replace(result, notes=(*result.notes, *mteb_differs(result.inputs.dataset)))
    save_results(result, similarities=save_similarities, ranks=save_ranks, report=report)
    if save_run or save_qrels or save_mteb or table:
        save(result, run=save_run, top=top, qrels=save_qrels, mteb=save_mteb, table=table, metrics=shown)
    if json_output:
        print_json(NAME, result.to_json())
    else:
        print_result(result, metrics=shown, quiet=quiet)


def require_formats(
    context: typer.Context, *, save_run: Path | None, save_qrels: Path | None, table: Path | None
) -> None:
    """Raise UsageError for a file whose ending is no format, and for --top that would change nothing."""
    from vtrcli.evaluation import exchange, tables

    for path, option, known in (
        (save_run, "--save-run", exchange.RUN_SUFFIXES),
        (save_qrels, "--save-qrels", exchange.QRELS_SUFFIXES),
        (table, "--table", tables.SUFFIXES),
    ):
        if path is not None:
            exchange.require_suffix(path, option=option, known=known)
    if options.was_typed(context, "top") and save_run is None:
        raise UsageError(
            "--top without --save-run", allowed="it cuts the run that is written", to_do="add --save-run FILE"
        )


def mteb_metrics() -> tuple[str, ...]:
    """Those that a TaskResult holds."""
    from vtrcli.evaluation.exchange import MTEB_METRICS

    return MTEB_METRICS


def save_results(
    result: EvaluationResult, *, similarities: Path | None, ranks: Path | None, report: Path | None
) -> None:
    """Write what vtr itself reads, and what people do."""
    if similarities:
        from vtrcli.evaluation.inputs import save_matrix

        save_matrix(result.inputs, similarities)
    if ranks:
        from vtrcli.evaluation.comparison import write_ranks

        write_ranks(result, ranks)
    if report:
        from vtrcli.evaluation.report.page import write_report

        write_report(result, report)


def save(
    result: EvaluationResult,
    *,
    run: Path | None,
    top: int | None,
    qrels: Path | None,
    mteb: Path | None,
    table: Path | None,
    metrics: list[str],
) -> None:
    """Write what others read."""
    from vtrcli.evaluation.exchange import write_mteb, write_qrels, write_run
    from vtrcli.evaluation.tables import write_table

    if run:
        write_run(result.inputs, run, top=top)
    if qrels:
        write_qrels(result.inputs, qrels)
    if mteb:
        write_mteb(result, mteb)
    if table:
        write_table(result, table, metrics=metrics)


def refuse_idle_options(
    context: typer.Context, methods: list[str], *, from_files: bool, has_split: bool
) -> None:
    """Raise UsageError for an option that was typed and would change nothing."""
    if all(method == "none" for method in methods):
        options.refuse_typed(
            context,
            ("arrivals", "sweep"),
            beside="without a method",
            allowed="it shows how a correction behaves",
            to_do="add --dsl or --method",
        )
    idle = (
        ("store", "run", "dataset", "annotations", "max_tokens", *(() if has_split else ("split",)))
        if from_files
        else ("text_to_video",)
    )
    options.refuse_typed(
        context,
        idle,
        beside=f"with {'scores from files' if from_files else 'a data set'}",
        allowed="a data set through a store, or scores from files (--similarities, --text-vectors, --trec)",
        to_do="keep one of the two",
    )


def print_result(result: EvaluationResult, *, metrics: list[str], quiet: bool) -> None:
    """What was evaluated, the table, and the tables of arrivals and sweep where they were asked for."""
    from vtrcli.evaluation.evaluate import SCALE_WORDS

    inputs, first = result.inputs, result.evaluations[0]
    what = f"{inputs.dataset} {inputs.split} · " if inputs.dataset else ""
    if inputs.max_tokens is not None:
        what += f"{inputs.max_tokens} tokens of a text · "
    ties = first.t2v.num_ties + (first.v2t.num_ties if first.v2t else 0)
    scale = f" · logit scale {first.logit_scale:g} ({SCALE_WORDS[result.scale_from]})"
    if first.v2t is None:  # of a run that is cut there is nothing to scale
        scale = ""
    say(
        f"{what}{inputs.model} · {count(first.num_texts, 'text')} x {count(first.num_videos, 'video')} · "
        f"ties {first.ties} ({ties:,}){scale}",
        quiet=quiet,
    )
    _print_table(result)
    if metrics:
        _print_metrics(result, metrics)
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
    if first.t2v.num_unlisted is not None:
        lines.append(
            f"not listed: {count(first.t2v.num_unlisted, 'text')} of {first.t2v.num_queries:,} with no right video in "
            "their list; they rank last"
        )
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


def _print_metrics(result: EvaluationResult, metrics: list[str]) -> None:
    """A table of their own: numbers from 0 to 1 beside per cents would be misread."""
    from vtrcli.ranking.gains import Metric

    names = [str(Metric.parse(name)) for name in metrics]
    rows = [
        (found.direction, evaluation.method, *(f"{found.more[name]:.4f}" for name in names))
        for evaluation, found in result.rows()
    ]
    stdout().print()
    print_columns([Column(""), Column("method"), *(Column(name, is_right=True) for name in names)], rows)


def _print_table(result: EvaluationResult) -> None:
    is_listed = result.evaluations[0].t2v.num_unlisted is not None
    # On a narrow terminal the less usual metrics go first; --json has all.
    leaves = {"R@50": 1, "MRR": 2, "95 %": 3}
    headings = ("T", "R@1", "95 %", "R@5", "R@10", "R@50", "MdR", "MnR", "MRR")
    columns = [
        Column("", short=lambda text: text.partition(" ")[0]),
        Column("method"),
        *(Column(name, is_right=True, leaves=leaves.get(name, 0)) for name in headings),
        *([Column("not listed", is_right=True)] if is_listed else []),
        Column("queries seen", short=lambda text: text.removesuffix(" (transductive)")),
    ]
    rows = []
    for evaluation, metrics in result.rows():
        low, high = metrics.recall_ci95.get(1, (None, None))
        interval = "" if low is None else f"{low:.1f}-{high:.1f}"
        recalls = [f"{metrics.recall[k]:.1f}" for k in (5, 10, 50)]
        seen = "one at a time" if not evaluation.transductive else "all at once (transductive)"
        temperature = "" if evaluation.temperature is None else f"{evaluation.temperature:g}"
        is_of_many = metrics.direction == "v2t" and result.inputs.truth.has_several_texts
        name = f"v2t {metrics.over}" if is_of_many else metrics.direction
        rows.append((
            name, evaluation.method, temperature, f"{metrics.recall[1]:.1f}", interval, *recalls,
            f"{metrics.median_rank:g}", f"{metrics.mean_rank:.3f}", f"{metrics.mrr:.3f}",
            *([f"{100 * (metrics.num_unlisted or 0) / metrics.num_queries:.1f} %"] if is_listed else []), seen,
        ))  # fmt: skip
    print_columns(columns, rows)
