"""What a stored bank of other captions brings to one live query, on a real matrix with the truth on its diagonal.

    python benchmarks/bank.py --similarities M.npy [--draws 5] [--splits 20] [--tables 1,2,3]

Text to video only; no query is ever in its own bank, and no query knows another one. Prints Markdown:

1. The bank holds K captions of other test videos, the gallery is all videos: the rivals' own captions are in it.
2. The bank holds K captions of videos that are not in the gallery, as training captions or any text file would. The
   column "subject" is a bank of 50 captions like one another instead of random ones.
3. The same banks turn a score into a relevance: does one threshold mean the same for every query?

All in float64. Before the tables the ranks of a few queries, every method, are compared to those of
`vtrcli.ranking.evaluate.evaluate(..., bank=...)`; the formulas are in `vtrcli.ranking.methods`. What is
computed here on its own is the leave-one-out over a thousand queries at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.methods import COSINE_LOGIT_SCALE, DEFAULT_NUM_ROUNDS, TINY, MethodName
from vtrcli.ranking.truth import Truth

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
TEMPERATURES = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
DRAWN_SIZES = (50, 100, 250, 500, 750, 999)
FOREIGN_SIZES = {500: (50, 100, 250, 500), 250: (50, 100, 250, 500, 750)}
RELEVANCE_SIZES = (50, 100, 250, 500)
THRESHOLD_SIZES = (25, 50, 100, 500)
SUBJECT_SIZE = 50
SMALL_GALLERY = 20
THRESHOLDS = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
PASSING_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Way:
    """One correction with its numbers, as the options of `evaluate`."""

    method: MethodName
    temperature: float = 1.0
    k: int | None = None
    alpha: float = 0.75

    @property
    def name(self) -> str:
        """With the numbers that it has."""
        if self.method == "nnn":
            return f"nnn, alpha {self.alpha:g}, k {self.k}"
        if self.method == "csls":
            return f"csls, k {self.k}"
        return self.method if self.method == "none" else f"{self.method}, T = {self.temperature:g}"


SOFTMAX_METHODS: tuple[MethodName, ...] = ("inverted-softmax", "dsl", "qb-norm", "mutual-softmax")
WAYS = (
    Way(method="none"),
    *(Way(method=method, temperature=value) for method in SOFTMAX_METHODS for value in TEMPERATURES),
    *(Way(method="sinkhorn", temperature=value) for value in (1.0, 2.0)),
    *(Way(method="nnn", alpha=alpha, k=k) for k in (8, 16) for alpha in (0.25, 0.5, 0.75)),
    Way(method="csls", k=10),
)


@dataclass(frozen=True)
class Bank:
    """Scores of the bank's captions with the gallery, and which of them each query must not see.

    Attributes:
        scores: [num_captions, num_videos].
        absent: int [num_queries], the row that the query's own bank lacks; None: all queries see all rows.
    """

    scores: Floats
    absent: Integers | None = None

    @property
    def size(self) -> int:
        """Captions that a query sees."""
        return len(self.scores) - (self.absent is not None)


def log_sum(bank: Bank, scale: float) -> Floats:
    """LSE of scale x score over each query's bank; [num_queries, num_videos], or [1, num_videos] if all share it."""
    logits = bank.scores * scale
    maximum = logits.max(0)
    terms = np.exp(logits - maximum)
    total = terms.sum(0)
    if bank.absent is None:
        shared: Floats = maximum + np.log(total)
        return shared[None]
    own = terms[bank.absent]
    # Where the largest term goes, a difference would be rounding error; what is left is summed on its own.
    largest = logits.argmax(0)
    terms[largest, np.arange(len(largest))] = 0
    left = np.where(bank.absent[:, None] == largest, terms.sum(0), total - own)
    sums: Floats = maximum + np.log(left)
    return sums


def neighbour_mean(bank: Bank, k: int) -> Floats:
    """Mean of each video's k largest scores in each query's bank; shaped as by `log_sum`."""
    k = min(k, bank.size)
    if bank.absent is None:
        shared: Floats = np.partition(bank.scores, bank.size - k, 0)[bank.size - k :].mean(0)
        return shared[None]
    split = len(bank.scores) - k - 1
    top = np.partition(bank.scores, split, 0)[split:]  # k + 1 rows, the smallest first
    own = bank.scores[bank.absent]
    means: Floats = (top.sum(0) - np.where(own >= top[0], own, top[0])) / k
    return means


def finds_hub(scores: Floats, bank: Bank) -> NDArray[np.bool_]:
    """Is the query's first video the first of any caption in its bank? bool [num_queries]."""
    best, best_of_bank = scores.argmax(1), bank.scores.argmax(1)
    count = np.bincount(best_of_bank, minlength=scores.shape[1])[best]
    if bank.absent is not None:
        count -= best_of_bank[bank.absent] == best
    found: NDArray[np.bool_] = count > 0
    return found


def potential(bank: Bank, scale: float) -> Floats:
    """Sinkhorn's item potential, shaped as by `log_sum`: all leave-one-out runs side by side, as matrix products."""
    logits = bank.scores * scale
    maximum = float(logits.max())
    kernel = np.exp(logits - maximum)
    num_queries = 1 if bank.absent is None else len(bank.absent)
    seen = np.ones((len(logits), num_queries))
    if bank.absent is not None:
        seen[bank.absent, np.arange(num_queries)] = 0
    weights = seen
    for left in reversed(range(DEFAULT_NUM_ROUNDS)):
        items = kernel.T @ weights
        if left:
            weights = seen / (kernel @ (1 / items))
    return np.log(items).T + maximum


def corrected(scores: Floats, bank: Bank, ways: Sequence[Way]) -> Iterator[tuple[Way, Floats]]:
    """Each way with its corrected scores [num_queries, num_videos]; ways with the same bias share it."""
    biases: dict[tuple[str, float], Floats] = {}
    for way in ways:
        key = bias_kind(way)
        if key not in biases:
            biases[key] = BIASES[key[0]](bank, key[1])
        yield way, apply_bias(scores, bank, way, biases[key])


BIASES: dict[str, Callable[[Bank, float], Floats]] = {
    "none": lambda bank, _: np.zeros((1, bank.scores.shape[1])),
    "neighbours": lambda bank, k: neighbour_mean(bank, int(k)),
    "sinkhorn": potential,
    "softmax": log_sum,
}


def bias_kind(way: Way) -> tuple[str, float]:
    """Which bias, and its number: k, or what multiplies the score."""
    if way.method in ("nnn", "csls"):
        return "neighbours", float(way.k or 1)
    kind = "softmax" if way.method in SOFTMAX_METHODS else way.method
    return kind, COSINE_LOGIT_SCALE / way.temperature


def apply_bias(scores: Floats, bank: Bank, way: Way, bias: Floats) -> Floats:
    """The formulas of `vtrcli.ranking.methods`; [num_queries, num_videos]."""
    if way.method == "none":
        return scores
    if way.method in ("nnn", "csls"):
        factor, share = (1.0, way.alpha) if way.method == "nnn" else (2.0, 1.0)
        return factor * scores - share * bias
    logits = scores * (COSINE_LOGIT_SCALE / way.temperature)
    if way.method == "dsl":
        logs: Floats = np.log(np.maximum(scores * COSINE_LOGIT_SCALE, TINY))
        return logits - np.logaddexp(bias, logits) + logs
    if way.method == "qb-norm":
        bias = bias * finds_hub(scores, bank)[:, None]
    return (2.0 if way.method == "mutual-softmax" else 1.0) * logits - bias


def ranks(scores: Floats, truth: Integers) -> Floats:
    """Rank of each query's video, ties counted half; [num_queries]."""
    own = scores[np.arange(len(scores)), truth][:, None]
    found: Floats = 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    return found


def recall_at_1(scores: Floats) -> float:
    """Per cent of the queries whose video, on the diagonal, comes first; of equal scores each with equal chance."""
    own = np.diag(scores)[:, None]
    first = (scores > own).sum(1) == 0
    return 100 * float((first / (scores == own).sum(1)).mean())


def drawn_bank(scores: Floats, order: Integers, size: int) -> Bank:
    """Each query's bank: the first `size` captions of the order without its own."""
    rows = order[: size + 1]
    absent = np.full(len(scores), size)  # a query outside leaves the last row out
    absent[rows] = np.arange(len(rows))
    return Bank(scores[rows], absent)


@dataclass
class Figures:
    """Values by row and column, collected over draws and printed as a Markdown table."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, column: str, value: float) -> None:
        self.values.setdefault(row, {}).setdefault(column, []).append(value)

    def show(self, title: str, form: Callable[[list[float]], str]) -> None:
        columns = list(dict.fromkeys(column for cells in self.values.values() for column in cells))
        print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        for row, cells in self.values.items():
            print(f"| {row} | {' | '.join(form(cells.get(column, [])) for column in columns)} |")


def plain(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}" if values else ""


def signed(values: list[float]) -> str:
    return f"{np.mean(values):+.1f} ± {np.std(values):.1f}" if values else ""


def short(values: list[float]) -> str:
    return f"{np.mean(values):.2f}".removesuffix(".00") if values else ""


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}" if values else ""


def check(scores: Floats) -> int:
    """Compare a few ranks to the library's; how many. AssertionError where they differ."""
    order = np.random.default_rng(0).permutation(len(scores))
    count = 0
    for size in (100, len(scores) - 1):
        bank = drawn_bank(scores, order, size)
        assert bank.absent is not None
        for way, values in corrected(scores, bank, WAYS):
            own = ranks(values, np.arange(len(scores)))
            for query in order[[0, 1, size // 2, -1]]:
                library = evaluate(
                    scores[query : query + 1],
                    Truth.from_videos([query], num_videos=scores.shape[1]),
                    method=way.method,
                    temperature=way.temperature,
                    k=way.k,
                    alpha=way.alpha,
                    bank=np.delete(bank.scores, bank.absent[query], 0),
                    num_bootstrap=0,
                )
                assert library.t2v.mean_rank == own[query], (way, size, query)
                shared = Bank(np.delete(bank.scores, bank.absent[query], 0))
                ((_, alone),) = corrected(scores[query : query + 1], shared, [way])
                assert ranks(alone, np.array([query]))[0] == own[query], (way, size, query)
                count += 1
    return count


def table_of_drawn_banks(scores: Floats, num_draws: int) -> None:
    """Table 1."""
    figures = Figures()
    for draw in range(num_draws):
        order = np.random.default_rng(draw).permutation(len(scores))
        for size in DRAWN_SIZES:
            for way, values in corrected(scores, drawn_bank(scores, order, size), WAYS):
                figures.add(way.name, f"K = {size}", recall_at_1(values))
    figures.show(f"1. R@1, captions of other test videos, {num_draws} draws", plain)


def like_the_first(rows: Floats) -> NDArray[np.intp]:
    """Indices of the SUBJECT_SIZE rows that correlate most with the first, itself included."""
    correlations: Floats = np.atleast_2d(np.corrcoef(rows))[0]
    return np.argsort(-correlations)[:SUBJECT_SIZE]


@dataclass(frozen=True)
class Split:
    """A gallery with its queries, and captions of other videos.

    Attributes:
        scores: [num_videos, num_videos], the truth on the diagonal.
        foreign: [num_captions, num_videos].
        subject: [SUBJECT_SIZE, num_videos], those foreign captions whose scores go most alike with those of the first.
    """

    scores: Floats
    foreign: Floats
    subject: Floats

    @classmethod
    def of(cls, scores: Floats, gallery_size: int, seed: int) -> Split:
        order = np.random.default_rng(seed).permutation(len(scores))
        gallery, rest = order[:gallery_size], order[gallery_size:]
        foreign = scores[np.ix_(rest, gallery)]
        alike = like_the_first(foreign)
        return cls(scores[np.ix_(gallery, gallery)], foreign, foreign[alike])


def table_of_foreign_banks(scores: Floats, num_splits: int) -> None:
    """Table 2, per size of gallery."""
    for gallery_size, sizes in FOREIGN_SIZES.items():
        figures, base = Figures(), []
        for seed in range(num_splits):
            split = Split.of(scores, gallery_size, seed)
            base.append(recall_at_1(split.scores))
            banks = {f"K = {size}": split.foreign[:size] for size in sizes} | {"subject": split.subject}
            for column, rows in banks.items():
                for way, values in corrected(split.scores, Bank(rows), WAYS[1:]):
                    figures.add(way.name, column, recall_at_1(values) - base[-1])
        title = f"2. R@1 against none ({plain(base)}), foreign captions, gallery {gallery_size}, {num_splits} splits"
        figures.show(title, signed)


def relevances(scores: Floats, bank: Floats) -> Iterator[tuple[str, Floats]]:
    """Ways to say how relevant a video is to a query, [num_queries, num_videos], larger is better."""
    mean, deviation = bank.mean(0), bank.std(0)
    middle = np.median(bank, 0)
    by_video = (scores - mean) / deviation
    yield "store: (s - mean) / std, one pair of numbers", (scores - bank.mean()) / bank.std()
    yield "video: (s - mean_v) / std_v", by_video
    yield "video, median and MAD", (scores - middle) / (1.4826 * np.median(np.abs(bank - middle), 0))
    yield "video, less the query's mean", by_video - by_video.mean(1, keepdims=True)
    yield "store, less the query's mean", (scores - scores.mean(1, keepdims=True)) / bank.std()
    yield "query: (s - mean_q) / std_q", _by_query(scores)
    yield "video, then query", _by_query(by_video)
    yield "percentile in the video's bank", percentiles(scores, bank)
    nearest = 0.5 * neighbour_mean(Bank(bank), 16)
    yield (
        "store, less half the mean of v's 16 best",
        (scores - nearest - (bank - nearest).mean()) / (bank - nearest).std(),
    )
    yield "inverted softmax, T = 1", COSINE_LOGIT_SCALE * scores - log_sum(Bank(bank), COSINE_LOGIT_SCALE)
    yield "softmax over the gallery, T = 1", _softmax(scores)


def _by_query(values: Floats) -> Floats:
    standard: Floats = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    return standard


def _softmax(scores: Floats) -> Floats:
    """Log of the softmax over the videos; needs no bank."""
    logits = COSINE_LOGIT_SCALE * scores
    totals: Floats = np.logaddexp.reduce(logits, 1)
    return logits - totals[:, None]


def percentiles(scores: Floats, bank: Floats) -> Floats:
    """Share of the bank that scores less with the video; [num_queries, num_videos]."""
    below = [np.searchsorted(ordered, own) for ordered, own in zip(np.sort(bank, 0).T, scores.T, strict=True)]
    return np.stack(below, 1) / len(bank)


def auc(positive: Floats, negative: Floats) -> float:
    """Chance in per cent that a positive value lies above a negative one, ties half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return 50 * float(below.mean()) / len(negative)


def best_accuracy(positive: Floats, negative: Floats) -> float:
    """Per cent right at the best single threshold, both classes counting half."""
    edges = np.unique(np.concatenate([positive, negative]))
    kept = 1 - np.searchsorted(np.sort(positive), edges) / len(positive)
    refused = np.searchsorted(np.sort(negative), edges) / len(negative)
    return 50 * float((kept + refused).max())


def unrelated(values: Floats) -> Floats:
    """The values off the diagonal, [n x (n - 1)]."""
    return values[~np.eye(len(values), dtype=bool)]


def first_hits(values: Floats) -> tuple[Floats, Floats]:
    """Each query's largest value with its own video in the gallery and without it; [num_queries] each."""
    without = values.copy()
    np.fill_diagonal(without, -np.inf)
    return values.max(1), without.max(1)


def qualities(values: Floats) -> Iterator[tuple[str, float]]:
    """The columns of table 3 that need no other gallery."""
    own, others = np.diag(values), unrelated(values)
    with_own, without = first_hits(values)
    yield "answerable AUC", auc(with_own, without)
    yield "accuracy", best_accuracy(with_own, without)
    yield "pair AUC", auc(own, others)
    threshold = np.quantile(others, 1 - PASSING_SHARE)
    yield "true kept at 1 %", 100 * float((own >= threshold).mean())
    # A standard deviation over the mean would depend on where a scale has its 0, so the unit is the gap.
    gap = own.mean() - others.mean()
    passing = max(1, round(PASSING_SHARE * values.shape[1]))
    edge = np.partition(values, values.shape[1] - passing, 1)[:, values.shape[1] - passing]
    yield "spread of true", float(own.std() / gap)
    yield "spread of edge", float(edge.std() / gap)
    passed = values >= threshold
    np.fill_diagonal(passed, False)
    for axis, over in ((1, "queries"), (0, "videos")):
        share = passed.mean(axis)
        yield f"unevenness over {over}", float(share.std() / share.mean())
    yield "ranked by it, R@1", recall_at_1(values)


def table_of_relevances(scores: Floats, num_splits: int) -> None:
    """Table 3: definitions, how small the bank may be, other galleries, thresholds."""
    by_size = {size: Figures() for size in RELEVANCE_SIZES}
    elsewhere, shares = Figures(), Figures()
    for seed in range(num_splits):
        split = Split.of(scores, max(FOREIGN_SIZES), seed)
        for size, figures in by_size.items():
            for name, values in relevances(split.scores, split.foreign[:size]):
                for column, value in qualities(values):
                    figures.add(name, column, value)
        add_other_galleries(elsewhere, split)
        add_thresholds(shares, split)
    for size, figures in by_size.items():
        figures.show(f"3. Relevance, gallery 500, K = {size}, {num_splits} splits", short)
    elsewhere.show(
        "3. Per cent kept in other galleries by the threshold that 1 % of 500 pass, K = 500", short
    )
    shares.show("3. `store`: per cent kept by a threshold (bank size in brackets)", spread)


def add_other_galleries(figures: Figures, split: Split) -> None:
    """Does the threshold of the whole gallery hold in a small one, and in one of a single subject?"""
    thresholds = {
        name: float(np.quantile(unrelated(values), 1 - PASSING_SHARE))
        for name, values in relevances(split.scores, split.foreign)
    }
    alike = like_the_first(split.foreign.T)
    for gallery, chosen in ((f"{SMALL_GALLERY} videos", np.arange(SMALL_GALLERY)), ("one subject", alike)):
        for name, values in relevances(split.scores[np.ix_(chosen, chosen)], split.foreign[:, chosen]):
            figures.add(name, f"{gallery}: unrelated", 100 * (unrelated(values) >= thresholds[name]).mean())
            figures.add(name, f"{gallery}: true", 100 * (np.diag(values) >= thresholds[name]).mean())


def add_thresholds(figures: Figures, split: Split) -> None:
    """Fixed thresholds of the relevance with one mean and deviation, by bank."""
    banks = {str(size): split.foreign[:size] for size in THRESHOLD_SIZES} | {"subject": split.subject}
    for name, bank in banks.items():
        values = (split.scores - bank.mean()) / bank.std()
        with_own, without = first_hits(values)
        for threshold in THRESHOLDS:
            row = f"{threshold:g} ({name})"
            figures.add(row, "unrelated pairs", 100 * float((unrelated(values) >= threshold).mean()))
            figures.add(row, "true pairs", 100 * float((np.diag(values) >= threshold).mean()))
            figures.add(row, "queries with a result", 100 * float((with_own >= threshold).mean()))
            figures.add(row, "the same, video removed", 100 * float((without >= threshold).mean()))
            figures.add(row, "results per query", float((values >= threshold).sum(1).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--similarities", required=True, help=".npy, cosines [1000 texts, 1000 videos]")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--tables", default="1,2,3")
    options = parser.parse_args()

    scores = np.load(options.similarities).astype(np.float64)
    print(f"{check(scores)} ranks equal those of vtrcli.ranking.evaluate")
    tables = options.tables.split(",")
    if "1" in tables:
        table_of_drawn_banks(scores, options.draws)
    if "2" in tables:
        table_of_foreign_banks(scores, options.splits)
    if "3" in tables:
        table_of_relevances(scores, options.splits)


if __name__ == "__main__":
    main()
