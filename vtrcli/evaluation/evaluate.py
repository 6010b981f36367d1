"""`evaluate_inputs`: the plain result and the corrected ones side by side. The use case behind `vtr eval`.

Its ranks, query by query, can be kept in a file: `vtrcli.evaluation.comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vtrcli.evaluation.protocol import protocol_of
from vtrcli.ranking.evaluate import Arrival, Evaluation, arrivals, evaluate, sweep
from vtrcli.ranking.gains import Metric
from vtrcli.ranking.methods import (
    DEFAULT_ALPHA,
    DEFAULT_TEMPERATURE,
    METHODS,
    MethodName,
    ScaleOrigin,
    Settings,
)
from vtrcli.ranking.metrics import (
    DEFAULT_NUM_BOOTSTRAP,
    Direction,
    DirectionMetrics,
    Over,
    Ties,
)
from vtrcli.ranking.scores import DEFAULT_MEMORY_BYTES, ScoreSource
from vtrcli.ranking.truth import Truth
from vtrcli.store.reader import FeatureStore

BANK_SUFFIX = "+bank"
DSL_ON_SIGMOID = (
    "dsl multiplies by the logit, and this model, trained with a sigmoid, gives many of 0 and below: inverted-softmax"
    " is the same without the product"
)
# `EvaluationResult.scale_from` in words.
SCALE_WORDS = {
    "option": "as asked for",
    "model": "the model's own",
    "cosines": "taken: all scores lie within -1 and 1, as CLIP's cosines",
    "logits": "taken: the scores spread as logits",
    "spread": "taken: the scores spread as CLIP's logits then",
}


@dataclass(frozen=True, repr=False)
class EvaluationInputs:
    """Scores and truth, and labels where they are known (the report shows them).

    `max_tokens`: how much of a text was read (None: not known, or all that CLIP reads). `texts` and `caption_ids` (of
    the data set) in the order of the rows, `video_ids` in that of the columns; `categories` by video id; `bank` holds
    scores of other texts with the same videos; `logit_scale` and, of one that was trained with a sigmoid, `logit_bias`
    are the model's own, where they are known; `relevant_from` is where the grades of qrels were cut; `system` is what
    of `protocol.SYSTEM` is known; `unread` is what of the texts the model does not read; `notes` are sentences for
    the user.
    """

    source: ScoreSource
    truth: Truth
    model: str
    dataset: str | None = None
    split: str | None = None
    max_tokens: int | None = None
    texts: tuple[str, ...] = ()
    caption_ids: tuple[str, ...] = ()
    video_ids: tuple[str, ...] = ()
    categories: Mapping[str, str] = field(default_factory=dict)
    store: FeatureStore | None = None
    bank: ScoreSource | None = None
    logit_scale: float | None = None
    logit_bias: float | None = None
    unread: Mapping[str, Any] = field(default_factory=dict)
    relevant_from: int | None = None
    system: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        num_texts, num_videos = self.source.shape
        return f"<EvaluationInputs of {self.model}: {num_texts:,} texts x {num_videos:,} videos>"


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How to evaluate; the defaults of the numbers are those of `vtrcli.ranking`. `logit_scale` None: the model's
    own where it is known, else detected.

    Raises UsageError for an unknown method and for numbers out of bounds, of a method that is not asked for, too.
    """

    methods: tuple[MethodName, ...] = ()
    temperature: float = DEFAULT_TEMPERATURE
    logit_scale: float | None = None
    v2t_over: Over | None = None
    ties: Ties = "average"
    k: int | None = None
    alpha: float = DEFAULT_ALPHA
    arrival_sizes: tuple[int, ...] = ()
    sweep_temperatures: tuple[float, ...] = ()
    num_bootstrap: int = DEFAULT_NUM_BOOTSTRAP
    metrics: tuple[str, ...] = ()
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    seed: int = 0

    def __post_init__(self) -> None:
        for temperature in (self.temperature, *self.sweep_temperatures):
            Settings(temperature=temperature, alpha=self.alpha)
        for method in self.methods:
            Settings(method=method)
        for metric in self.metrics:
            Metric.parse(metric)


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """`evaluations`: the plain one first, then each method (transductive, and once more with the bank if there is
    one). `arrivals` and `sweeps` per method; `notes` for the user."""

    inputs: EvaluationInputs
    options: EvaluationSettings
    evaluations: tuple[Evaluation, ...]
    arrivals: dict[tuple[MethodName, Direction], tuple[Arrival, ...]] = field(default_factory=dict)
    sweeps: dict[MethodName, tuple[Evaluation, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        first = self.evaluations[0]
        rows = (f"{row['direction']} {row['method']} R@1 {row['R@1']:.1f}" for row in self.table())
        return (
            f"<EvaluationResult {first.num_texts:,} texts x {first.num_videos:,} videos: {', '.join(rows)}>"
        )

    @property
    def scale_from(self) -> ScaleOrigin | Literal["option", "model"]:
        """What told the logit scale: an option, the model, or what the scores look like."""
        if self.options.logit_scale is not None:
            return "option"
        return self.evaluations[0].scale_told_by if self.inputs.logit_scale is None else "model"

    def table(self) -> list[dict[str, Any]]:
        """One row per method and direction, the `results` of `vtr eval --json`; `pandas.DataFrame` takes it."""
        return [row for evaluation in self.evaluations for row in evaluation.to_json()]

    def rows(self) -> list[tuple[Evaluation, DirectionMetrics]]:
        """As people read them: text to video by every method, then video to text where it is defined."""
        directions: tuple[Direction, ...] = ("t2v", "v2t")
        return [
            (evaluation, metrics)
            for direction in directions
            for evaluation in self.evaluations
            if (metrics := evaluation.of(direction)) is not None
        ]

    def protocol(self) -> dict[str, Any]:
        """What the numbers rest on (`vtrcli.evaluation.protocol`), with its `fingerprint`."""
        inputs, options, plain = self.inputs, self.options, self.evaluations[0]
        known = {name: getattr(inputs, name) for name in ("dataset", "split", "relevant_from", "max_tokens")}
        methods = [row for row in self.evaluations if row.method != "none"]
        return protocol_of(
            inputs.source,
            inputs.truth,
            caption_ids=inputs.caption_ids,
            texts=inputs.texts,
            video_ids=inputs.video_ids if inputs.relevant_from is not None else (),
            known={
                **known,
                **inputs.system,
                "ties": options.ties,
                "v2t_over": plain.v2t.over if plain.v2t else None,
                "corrections": [_in_words(row) for row in methods],
            },
        )

    def to_json(self) -> dict[str, Any]:
        """The keys of `vtr eval --json`."""
        first = self.evaluations[0]
        body: dict[str, Any] = {
            "model": self.inputs.model,
            "dataset": self.inputs.dataset,
            "split": self.inputs.split,
            "max_tokens": self.inputs.max_tokens,
            "num_texts": first.num_texts,
            "num_videos": first.num_videos,
            "v2t_over": first.v2t.over if first.v2t else None,
            "ties": first.ties,
            "num_ties": first.t2v.num_ties + (first.v2t.num_ties if first.v2t else 0),
            "logit_scale": first.logit_scale,
            "logit_scale_from": self.scale_from,
            "logit_bias": self.inputs.logit_bias,
            **self.inputs.unread,
            "results": self.table(),
            "notes": list(self.notes),
            "protocol": self.protocol(),
        }
        if self.arrivals:
            body["arrivals"] = [
                {"method": method, "direction": direction, **_arrival_json(arrival)}
                for (method, direction), rows in self.arrivals.items()
                for arrival in rows
            ]
        if self.sweeps:
            swept = (evaluation for rows in self.sweeps.values() for evaluation in rows)
            body["sweep"] = [row for evaluation in swept for row in evaluation.to_json()]
        return body


def _in_words(evaluation: Evaluation) -> str:
    numbers = {"T": evaluation.temperature, "alpha": evaluation.alpha}
    return " ".join(
        [row_name(evaluation), *(f"{name} {value:g}" for name, value in numbers.items() if value is not None)]
    )


def _arrival_json(arrival: Arrival) -> dict[str, Any]:
    recall = {f"R@{k}": round(value, 4) for k, value in arrival.recall.items()}
    return {
        "batch_size": arrival.batch_size,
        "num_shuffles": arrival.num_shuffles,
        **recall,
        "MdR": arrival.median_rank,
        "MnR": round(arrival.mean_rank, 4),
    }


def evaluate_inputs(inputs: EvaluationInputs, options: EvaluationSettings) -> EvaluationResult:
    """Evaluate plainly and with each method of the options. A corrected number never stands alone.

    Raises:
        InputError, UsageError: scores or numbers that cannot be used.
    """
    source, truth = inputs.source, inputs.truth
    common: dict[str, Any] = {
        name: getattr(options, name) for name in ("v2t_over", "ties", "memory_bytes", "seed")
    }
    common["logit_scale"] = inputs.logit_scale if options.logit_scale is None else options.logit_scale
    asked: dict[str, Any] = {"num_bootstrap": options.num_bootstrap, "metrics": options.metrics}
    numbers: dict[str, Any] = {"temperature": options.temperature, "k": options.k, "alpha": options.alpha}
    methods = [method for method in dict.fromkeys(options.methods) if method != "none"]
    banks = (None,) if inputs.bank is None else (None, inputs.bank)
    directions: tuple[Direction, ...] = ("t2v", "v2t")
    evaluations = [evaluate(source, truth, **asked, **common)]
    evaluations += [
        evaluate(source, truth, method=method, bank=bank, **asked, **numbers, **common)
        for method in methods
        for bank in banks
    ]
    warnings = [note for result in evaluations for note in result.warnings]
    if "dsl" in methods and inputs.logit_bias is not None:
        warnings.append(DSL_ON_SIGMOID)
    return EvaluationResult(
        inputs,
        options,
        tuple(evaluations),
        arrivals={
            (method, direction): arrivals(
                source, truth, options.arrival_sizes, method=method, direction=direction, **numbers, **common
            )
            for method in methods
            for direction in directions
            if options.arrival_sizes
        },
        sweeps={
            method: sweep(
                source,
                truth,
                options.sweep_temperatures,
                method=method,
                k=options.k,
                num_bootstrap=0,
                **common,
            )
            for method in methods
            if options.sweep_temperatures and METHODS[method].uses_temperature
        },
        notes=tuple(dict.fromkeys([*inputs.notes, *warnings, *_below_plain(evaluations)])),
    )


def _below_plain(evaluations: list[Evaluation]) -> list[str]:
    """A sentence for each correction that made R@1 worse."""
    found = []
    for corrected in evaluations[1:]:
        for before, after in ((evaluations[0].t2v, corrected.t2v), (evaluations[0].v2t, corrected.v2t)):
            if before and after and after.recall[1] < before.recall[1]:
                bank = "" if corrected.transductive else " with the bank"
                found.append(
                    f"{after.direction}: {corrected.method}{bank} ends below plain: "
                    f"R@1 {after.recall[1]:.1f} instead of {before.recall[1]:.1f}"
                )
    return found


def row_name(evaluation: Evaluation) -> str:
    """The method; with "+bank" where other queries than the test queries were the bank."""
    return evaluation.method + (BANK_SUFFIX if evaluation.uses_bank else "")
