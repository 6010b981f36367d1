"""A small evaluation with made-up texts, ids and categories, for the tests of the report."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationResult, EvaluationSettings, evaluate_inputs
from vtrcli.ranking.methods import MethodName
from vtrcli.ranking.scores import VectorScores
from vtrcli.ranking.truth import Truth
from vtrcli.store.reader import unit_rows

NUM_VIDEOS = 30


def make_inputs(*, hostile: str = "", bank: bool = False) -> EvaluationInputs:
    """Two texts per video; `hostile` is added to every text, id and category."""
    generator = np.random.default_rng(0)
    videos = generator.standard_normal((NUM_VIDEOS, 8))
    of_text = np.repeat(np.arange(NUM_VIDEOS), 2)
    texts = unit_rows(videos[of_text] + 1.2 * generator.standard_normal((len(of_text), 8)))
    others = unit_rows(generator.standard_normal((40, 8)))
    ids = tuple(f"video{number}{hostile}" for number in range(NUM_VIDEOS))
    return EvaluationInputs(
        VectorScores(texts, unit_rows(videos)),
        Truth.from_videos(of_text, num_videos=NUM_VIDEOS),
        model=f"run tiny{hostile}",
        dataset=f"made up{hostile}",
        split="test",
        texts=tuple(
            f"a man {'slowly ' * (row % 9)}cooks number {row}{hostile}" for row in range(len(of_text))
        ),
        video_ids=ids,
        categories={name: f"{'food' if row % 3 else 'sport'}{hostile}" for row, name in enumerate(ids)},
        bank=VectorScores(others, unit_rows(videos)) if bank else None,
        notes=(f"a note{hostile}",),
    )


def evaluated(
    inputs: EvaluationInputs, *, methods: tuple[MethodName, ...] = ("dsl",), **options: object
) -> EvaluationResult:
    few = EvaluationSettings(methods=methods, num_bootstrap=50)
    return evaluate_inputs(inputs, replace(few, **options))  # type: ignore[arg-type]


@cache
def small_result() -> EvaluationResult:
    """Everything that a report can show, but pictures."""
    return evaluated(
        make_inputs(bank=True),
        methods=("dsl", "csls"),
        arrival_sizes=(1, 8, 60),
        sweep_temperatures=(0.5, 1.0, 10.0),
    )
