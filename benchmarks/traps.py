"""Ten traps for evaluators of retrieval: what each answers, beside what is right.

    make interop        # packages that are not installed are counted and left out
    python benchmarks/traps.py [--json] [--write docs/evaluation.md]

Every trap is a small matrix of `trap_cases.py`, which counts by itself what is right. Where a trap has two cases an
evaluator must have both right.

Each evaluator is asked in the way its documentation names for "is a right item first", and gets what it takes: ids
and scores, a matrix, or (the scripts) a matrix with pairs on its diagonal, in the order of the ids. The three scripts
are written anew after the habits they stand for; none is a copy of anyone's.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from trap_cases import TRAPS, Case, Question, dual_softmax, question

BEGIN, END = "<!-- traps: by benchmarks/traps.py --write -->", "<!-- traps: end -->"


class CannotAsk(Exception):
    """The evaluator has no such function, and says so by not having it."""


# ----------------------------------------------------------------------------------------------- the evaluators


def ask_vtr(case: Case) -> float:
    """By a matrix and by a run; NaN, which is never right, where the two disagree."""
    doors = (vtr_by_run,) if case.listed is not None else (vtr_by_matrix, vtr_by_run)
    options: dict[str, Any] = {"num_bootstrap": 0}
    if case.dsl:
        options |= {"dsl": True, "logit_scale": 1.0, "temperature": 1.0}
    answers: list[float | Exception] = []
    for door in doors:
        try:
            answers.append(float(door(case, options).evaluations[-1].of(case.direction).recall[1]))
        except import_module("vtrcli.errors").InputError as error:
            answers.append(error)
    numbers = {one for one in answers if isinstance(one, float)}
    refusals = [one for one in answers if isinstance(one, Exception)]
    if refusals and not numbers:
        raise refusals[0]
    return math.nan if refusals or len(numbers) > 1 else numbers.pop()


def vtr_by_matrix(case: Case, options: dict[str, Any]) -> Any:
    return import_module("vtrcli").evaluate(case.scores, text_to_video=np.array(case.pairs), **options)


def vtr_by_run(case: Case, options: dict[str, Any]) -> Any:
    asked = question(replace(case, direction="t2v"))
    with tempfile.TemporaryDirectory() as folder:
        run, qrels = Path(folder, "run.json"), Path(folder, "qrels.json")
        run.write_text(json.dumps(asked.run()))
        qrels.write_text(json.dumps(asked.qrels()))
        evaluate = import_module("vtrcli").evaluate
        return evaluate(trec=run, qrels=qrels, num_videos=case.scores.shape[1], **options)


def ask_torchmetrics(measure: str, case: Case) -> float:
    """RetrievalHitRate, or RetrievalRecall, which is another number where a query has several right items."""
    torch, retrieval = import_module("torch"), import_module("torchmetrics.retrieval")
    asked = plain(case)
    if measure == "RetrievalRecall" and (asked.is_right.sum(axis=1) > 1).any():
        raise CannotAsk("its recall is the share of the right items that was found")
    rows, columns = np.nonzero(asked.listed)
    scores, is_right = asked.scores[rows, columns], asked.is_right[rows, columns]
    metric = getattr(retrieval, measure)(top_k=1)
    return 100 * float(metric(torch.tensor(scores), torch.tensor(is_right), indexes=torch.tensor(rows)))


def ask_mteb(case: Case) -> float:
    counted = import_module("mteb._evaluators.retrieval_metrics")
    asked = plain(case)
    found = counted.calculate_retrieval_scores(asked.run(), asked.qrels(), [1])
    return 100 * float(next(iter(found.hit_rate.values())))


def ask_ranx(case: Case) -> float:
    ranx = import_module("ranx")
    asked = plain(case)
    qrels, run = ranx.Qrels.from_dict(asked.qrels()), ranx.Run.from_dict(asked.run())
    return 100 * float(ranx.evaluate(qrels, run, "hit_rate@1", make_comparable=True))


def ask_ir_measures(case: Case) -> float:
    ir_measures = import_module("ir_measures")
    asked = plain(case)
    measure = ir_measures.parse_measure("Success@1")
    return 100 * float(ir_measures.calc_aggregate([measure], asked.qrels(), asked.run())[measure])


def ask_pytrec_eval(case: Case) -> float:
    pytrec_eval = import_module("pytrec_eval")
    asked = plain(case)
    found = pytrec_eval.RelevanceEvaluator(asked.qrels(), {"success_1"}).evaluate(asked.run())
    return 100 * float(np.mean([row["success_1"] for row in found.values()]))


def ask_sklearn(case: Case) -> float:
    metrics = import_module("sklearn.metrics")
    asked = plain(case)
    if (asked.is_right.sum(axis=1) > 1).any():
        raise CannotAsk("top_k_accuracy_score takes one right answer")
    right = asked.is_right.argmax(axis=1)
    labels = np.arange(len(asked.item_ids))
    return 100 * float(metrics.top_k_accuracy_score(right, asked.matrix(), k=1, labels=labels))


def plain(case: Case) -> Question:
    """For those that count and correct nothing."""
    if case.dsl:
        raise CannotAsk("it has no correction")
    return question(case)


def sort_and_where(scores: np.ndarray) -> float:
    """Sort each row, look where the diagonal's value stands in it."""
    ordered = np.sort(-scores, axis=1)
    places = np.where(ordered + np.diag(scores)[:, None] == 0)[1]
    return 100 * float(np.mean(places == 0))


def argsort_of_diagonal(scores: np.ndarray) -> float:
    """Argsort each row, look where the diagonal's index stands in it."""
    order = np.argsort(-scores, axis=1)
    ranks = [int(np.where(row == i)[0][0]) for i, row in enumerate(order)]
    return 100 * float(np.mean(np.array(ranks) < 1))


def topk(scores: np.ndarray, is_right: np.ndarray) -> float:
    """torch.topk of each row, looked up in a table of what is right."""
    torch = import_module("torch")
    found = torch.topk(torch.tensor(scores), 1, dim=1).indices
    return 100 * float(torch.tensor(is_right).gather(1, found).any(dim=1).float().mean())


def ask_script(script: Callable[[np.ndarray], float], case: Case) -> float:
    """Scripts that know a diagonal alone get a row and a column per pair, as data sets of pairs list them, then the
    videos without a text."""
    scores = script_scores(case)
    texts, videos = np.array(case.pairs).T
    others = np.setdiff1d(np.arange(scores.shape[1]), videos)
    if case.direction == "v2t":
        return script(scores[np.ix_(texts, videos)].T)
    return script(scores[np.ix_(texts, np.concatenate([videos, others]))])


def ask_topk(case: Case) -> float:
    scores, is_right = script_scores(case), np.zeros(case.scores.shape, np.bool_)
    is_right[tuple(np.array(case.pairs).T)] = True
    return topk(scores.T, is_right.T) if case.direction == "v2t" else topk(scores, is_right)


def script_scores(case: Case) -> np.ndarray:
    """Scripts correct the matrix once, by a softmax over its rows, and use it for both directions."""
    if case.dsl:
        return dual_softmax(case.scores)
    if case.listed is None:
        return case.scores
    return np.where(case.listed, case.scores, case.scores.dtype.type(-np.inf))


@dataclass(frozen=True)
class Evaluator:
    """`package`: of the version; `module`: what must be there to ask."""

    name: str
    package: str
    module: str
    ask: Callable[[Case], float]
    is_script: bool = False
    heading: str = ""  # of two lines, where the name is long

    @property
    def version(self) -> str | None:
        """None: not installed, or, where packages do not fit each other, it cannot be imported."""
        try:
            import_module(self.module)
        except Exception:
            return None
        return version(self.package)


EVALUATORS = (
    Evaluator("vtr", "vtrcli", "vtrcli", ask_vtr),
    Evaluator(
        "torchmetrics", "torchmetrics", "torchmetrics", partial(ask_torchmetrics, "RetrievalHitRate"),
        heading="torch-\nmetrics",
    ),
    Evaluator(
        "its recall", "torchmetrics", "torchmetrics", partial(ask_torchmetrics, "RetrievalRecall"),
        heading="its\nrecall",
    ),
    Evaluator("mteb", "mteb", "mteb", ask_mteb),
    Evaluator("ranx", "ranx", "ranx", ask_ranx),
    Evaluator("ir_measures", "ir_measures", "ir_measures", ask_ir_measures, heading="ir_me-\nasures"),
    Evaluator("pytrec_eval", "pytrec-eval-terrier", "pytrec_eval", ask_pytrec_eval, heading="pytrec\n_eval"),
    Evaluator("sklearn", "scikit-learn", "sklearn.metrics", ask_sklearn, heading="sk-\nlearn"),
    Evaluator(
        "sort, where", "numpy", "numpy", partial(ask_script, sort_and_where), is_script=True,
        heading="sort,\nwhere",
    ),
    Evaluator("argsort", "numpy", "numpy", partial(ask_script, argsort_of_diagonal), is_script=True),
    Evaluator("topk", "torch", "torch", ask_topk, is_script=True),
)  # fmt: skip


# --------------------------------------------------------------------------------------------------- the result


@dataclass(frozen=True)
class Answer:
    """`value`: per cent; None: refused, or it could not be asked; NaN with an `error`: it broke."""

    value: float | None
    error: str | None = None
    can_ask: bool = True

    def is_right(self, case: Case) -> bool:
        if not self.can_ask:
            return False
        if self.value is None:
            return not case.right
        return any(abs(self.value - right) < 1e-3 for right in case.right)  # float32's means are rounded

    def to_json(self) -> dict[str, Any]:
        """`value` is null where there is none, and where it is NaN, which JSON lacks."""
        value = None if self.value is None or math.isnan(self.value) else self.value
        return {"said": str(self), "value": value, "error": self.error}

    def __str__(self) -> str:
        if not self.can_ask:
            return "-"
        if self.value is None:
            return "error"
        return "broke" if self.error else f"{self.value:.4g}"


def answer(evaluator: Evaluator, case: Case) -> Answer:
    """An error is an answer, too, but not one that says that the asking or the evaluator broke."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return Answer(evaluator.ask(case))
    except CannotAsk as reason:
        return Answer(None, str(reason), can_ask=False)
    except (AttributeError, ImportError, LookupError, NameError, TypeError) as error:
        return Answer(math.nan, f"{type(error).__name__}: {error}"[:200])
    except Exception as error:
        return Answer(None, f"{type(error).__name__}: {error}"[:200])


def cell(answers: Sequence[Answer], cases: Sequence[Case]) -> str:
    """`ok`, or what was said instead."""
    if all(one.is_right(case) for one, case in zip(answers, cases, strict=True)):
        return "ok"
    texts = [str(one) for one in answers]
    return "-" if set(texts) == {"-"} else "|".join(texts)


def right_answer(cases: Sequence[Case]) -> str:
    """One for all cases, where it is the same."""
    texts = [" or ".join(f"{right:.4g}" for right in case.right) or "error" for case in cases]
    return "|".join(dict.fromkeys(texts))


def ask_all(evaluators: Sequence[Evaluator] | None = None) -> dict[str, dict[str, list[Answer]]]:
    """Evaluator -> trap -> an answer per case, of those that are installed."""
    traps = {name: make() for name, make in TRAPS.items()}
    return {
        one.name: {name: [answer(one, case) for case in cases] for name, cases in traps.items()}
        for one in evaluators or EVALUATORS
        if one.version
    }


def table(found: dict[str, dict[str, list[Answer]]]) -> list[list[str]]:
    """Header, a row per trap, and how many are right."""
    traps = {name: make() for name, make in TRAPS.items()}
    columns = {
        one.name: [cell(found[one.name][name], cases) for name, cases in traps.items()]
        if one.name in found
        else ["not installed"] * len(traps)
        for one in EVALUATORS
    }
    rows = [["R@1", "right", *columns]]
    for place, (name, cases) in enumerate(traps.items()):
        rows.append([name, right_answer(cases), *(cells[place] for cells in columns.values())])
    counts = (str(cells.count("ok")) if name in found else "-" for name, cells in columns.items())
    return [*rows, [f"ok of {len(traps)}", "", *counts]]


def versions() -> dict[str, str | None]:
    return {one.name: one.version for one in EVALUATORS}


def about(present: dict[str, str | None]) -> str:
    """Versions, scripts and what is missing, in one sentence each."""
    packages = [one for one in EVALUATORS if present[one.name] and not one.is_script]
    named = dict.fromkeys(f"{one.package} {present[one.name]}" for one in packages)
    scripts = [f"{one.name} ({one.package} {present[one.name]})" for one in EVALUATORS if one.is_script]
    missing = [name for name, found in present.items() if not found]
    text = f"{', '.join(named)}; scripts: {', '.join(scripts)}."
    return text + (f" Not installed: {len(missing)} ({', '.join(missing)})." if missing else "")


def markdown(rows: list[list[str]], present: dict[str, str | None]) -> str:
    head, *body = [[text.replace("|", ", ") for text in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", about(present)])


def screen(rows: list[list[str]], present: dict[str, str | None]) -> str:
    """Two blocks, each within 80 columns: the packages, then the scripts."""
    headings = ["\nR@1", "\nright", *("\n" + (one.heading or one.name) for one in EVALUATORS)]
    halves = [heading.split("\n")[-2:] for heading in headings]
    body = [
        [text.replace("not installed", "absent").replace(" or ", "/") for text in row] for row in rows[1:]
    ]
    lines = [*map(list, zip(*halves, strict=True)), *body]
    blocks = []
    for is_script in (False, True):
        columns = [0, 1, *(place + 2 for place, one in enumerate(EVALUATORS) if one.is_script == is_script)]
        widths = [max(len(line[column]) for line in lines) for column in columns]
        for line in lines:
            texts = (line[column].ljust(width) for column, width in zip(columns, widths, strict=True))
            blocks.append(" ".join(texts).rstrip())
        blocks.append("")
    legend = "ok: right; else what was said, of each case; -: no such function, or not installed."
    return "\n".join([*blocks, legend, about(present)])


def around_the_table(path: Path) -> tuple[str, str]:
    """What stands before and after the marks of a page."""
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path}: no page with the lines {BEGIN} and {END}; the table goes between them")
    return before, after


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put the table between the marks of a page"
    )
    options = parser.parse_args()
    around = around_the_table(options.write) if options.write else None
    found, present = ask_all(), versions()
    rows = table(found)
    if around:
        page = f"{around[0]}{BEGIN}\n\n{markdown(rows, present)}\n\n{END}{around[1]}"
        options.write.write_text(page, encoding="utf-8")
    if options.json:
        answers = {
            name: {trap: [one.to_json() for one in said] for trap, said in traps.items()}
            for name, traps in found.items()
        }
        right = {name: [case.right for case in make()] for name, make in TRAPS.items()}
        num_right = {name: int(rows[-1][place + 2]) for place, name in enumerate(present) if name in found}
        print(json.dumps({"versions": present, "right": right, "answers": answers, "num_right": num_right}))
        return
    print(screen(rows, present))


if __name__ == "__main__":
    main()
