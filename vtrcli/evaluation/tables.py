"""A result as a table for a paper or a page: LaTeX, Markdown, CSV. Plain stands beside corrected, and a row that looked
at all queries at once is marked wherever it goes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from vtrcli import __version__
from vtrcli.evaluation.evaluate import EvaluationResult, row_name
from vtrcli.files import write_whole
from vtrcli.ranking.evaluate import Evaluation
from vtrcli.ranking.gains import Metric
from vtrcli.ranking.metrics import Direction, DirectionMetrics

SUFFIXES = (".tex", ".md", ".csv")
TRANSDUCTIVE = "transductive: saw all test queries at once; not to be compared with plain numbers"
_DIRECTIONS: dict[Direction, str] = {"t2v": "text to video", "v2t": "video to text"}
_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {character: f"\\{character}" for character in "&%$#_{}"}
)


def write_table(result: EvaluationResult, path: Path, *, metrics: Sequence[str] = ()) -> None:
    """Write it in the format of the suffix, one of `SUFFIXES`; `metrics` are those of `gains` to show.

    Raises:
        StoreError: the file cannot be written.
    """
    shown = [str(Metric.parse(name)) for name in metrics]
    form = {".tex": _latex, ".md": _markdown, ".csv": _csv}[path.suffix.lower()]
    write_whole(path, form(result, shown).encode())


def _cells(metrics: DirectionMetrics, shown: Sequence[str]) -> list[str]:
    """R@1 without its interval, R@5 ..., in per cent with one decimal; the others with as many as they need."""
    return [
        *(f"{metrics.recall[k]:.1f}" for k in (1, 5, 10)),
        f"{metrics.median_rank:g}",
        f"{metrics.mean_rank:.1f}",
        *(f"{metrics.more[name]:.4f}" for name in shown),
    ]


def _method(evaluation: Evaluation) -> str:
    name = "plain" if evaluation.method == "none" else row_name(evaluation)
    return name if evaluation.temperature is None else f"{name}, T {evaluation.temperature:g}"


def _about(result: EvaluationResult) -> str:
    """What a reader must know to get the same numbers, in a line."""
    first, inputs = result.evaluations[0], result.inputs
    what = f"{inputs.dataset} {inputs.split or ''}".strip() if inputs.dataset else "scores from a file"
    return (
        f"{what}, {_bare(inputs.model)}: {first.num_texts:,} texts, {first.num_videos:,} videos; ties {first.ties}; "
        f"protocol {result.protocol()['fingerprint']}; vtr {__version__}"
    )


def _bare(model: str) -> str:
    """A file or a run by its name: where it lies is nobody's concern."""
    return " ".join(Path(word).name for word in model.split(" "))


def _unlisted(result: EvaluationResult) -> str | None:
    metrics = result.evaluations[0].t2v
    if metrics.num_unlisted is None:
        return None
    num = f"{metrics.num_unlisted:,} of {metrics.num_queries:,}"
    return f"{num} texts have no right video in their list: they rank last"


def _notes(result: EvaluationResult) -> list[str]:
    return [note for note in (_about(result), _unlisted(result)) if note]


def _latex(result: EvaluationResult, shown: Sequence[str]) -> str:
    heads = ["R@1", "95\\,\\%", "R@5", "R@10", "MdR", "MnR", *shown]
    lines = [f"% {note.translate(_LATEX)}" for note in _notes(result)]
    lines += [
        f"\\begin{{tabular}}{{ll{'r' * len(heads)}}}",
        "\\toprule",
        f" & Method & {' & '.join(heads)} \\\\",
    ]
    before = None
    for evaluation, metrics in result.rows():
        if metrics.direction != before:
            lines.append("\\midrule")
        name = _DIRECTIONS[metrics.direction] if metrics.direction != before else ""
        mark = "$^\\dagger$" if evaluation.transductive else ""
        first, *rest = _cells(metrics, shown)
        low, high = metrics.recall_ci95.get(1, (None, None))
        interval = "" if low is None else f"{low:.1f}--{high:.1f}"
        cells = [name, _method(evaluation).translate(_LATEX) + mark, first, interval, *rest]
        lines.append(" & ".join(cells) + " \\\\")
        before = metrics.direction
    lines.append("\\bottomrule")
    if any(evaluation.transductive for evaluation in result.evaluations):
        note = f"\\footnotesize $^\\dagger$ {TRANSDUCTIVE}"
        lines.append(f"\\multicolumn{{{2 + len(heads)}}}{{l}}{{{note}}} \\\\")
    lines.append("\\end{tabular}")
    return "\n".join(lines) + "\n"


def _markdown(result: EvaluationResult, shown: Sequence[str]) -> str:
    heads = ["", "method", "R@1", "95 %", "R@5", "R@10", "MdR", "MnR", *shown]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for evaluation, metrics in result.rows():
        first, *rest = _cells(metrics, shown)
        low, high = metrics.recall_ci95.get(1, (None, None))
        interval = "" if low is None else f"{low:.1f} to {high:.1f}"
        mark = " †" if evaluation.transductive else ""
        cells = [_DIRECTIONS[metrics.direction], _method(evaluation) + mark, first, interval, *rest]
        lines.append("| " + " | ".join(cells) + " |")
    if any(evaluation.transductive for evaluation in result.evaluations):
        lines += ["", f"† {TRANSDUCTIVE}"]
    about = [note.replace("|", "\\|") for note in _notes(result)]
    return "\n".join([*lines, "", *about]) + "\n"


def _csv(result: EvaluationResult, shown: Sequence[str]) -> str:
    """All that `--json` has of each row, in full precision; intervals as two columns."""
    rows = []
    for row in result.table():
        flat: dict[str, object] = {}
        for name, value in row.items():
            if isinstance(value, list):
                flat |= {f"{name}_low": value[0], f"{name}_high": value[1]}
            else:
                flat[name] = value
        rows.append({**flat, "protocol": result.protocol()["fingerprint"]})
    file = io.StringIO(newline="")
    writer = csv.DictWriter(
        file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
