"""What each part of CAMoE brings on the demo corpus: aggregator x gate x experts x DSL in training, several seeds.

No correction at inference. Prints a Markdown table of means and deviations over the seeds; every row is trained with
the demo's recipe and judged on the test split by the epoch that validation chose.

    vtr demo --out demo && python benchmarks/ablation.py demo --seeds 3 --workers 2
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from vtrcli.model.train_settings import Aggregator, Gate
from vtrcli.text.streams import STREAMS, Stream

AGGREGATORS: tuple[Aggregator, ...] = ("mean", "se", "attention")
GATES: tuple[Gate, ...] = ("uniform", "video", "text")
EXPERTS: tuple[tuple[Stream, ...], ...] = (("fusion",), ("fusion", "entity"), STREAMS)
TEMPERATURES: tuple[float | None, ...] = (None, 100.0)
MORE_TEMPERATURES = (1000.0, 300.0, 30.0)  # for the default model only


@dataclass(frozen=True)
class Setting:
    """One row of the table. A single expert needs no gate."""

    aggregator: Aggregator
    gate: Gate
    experts: tuple[Stream, ...]
    dsl_temperature: float | None


@dataclass(frozen=True)
class Outcome:
    """Test figures of one run, in per cent, and its wall time."""

    t2v: float
    v2t: float
    order: float
    seconds: float


def settings() -> list[Setting]:
    """Every combination that differs, and more temperatures for the default model."""
    rows = [Setting(*values) for values in itertools.product(AGGREGATORS, GATES, EXPERTS, TEMPERATURES)]
    kept = [row for row in rows if len(row.experts) > 1 or row.gate == "uniform"]
    return [*kept, *(Setting("attention", "video", STREAMS, value) for value in MORE_TEMPERATURES)]


def run_one(demo: Path, setting: Setting, seed: int) -> Outcome:
    """Train and test one setting with one seed, on one thread."""
    import torch

    from vtrcli.demo.corpus import plan_corpus
    from vtrcli.demo.demo import DATASET, RECIPE, find, split_inputs
    from vtrcli.model.train_settings import recipe_settings
    from vtrcli.ranking.evaluate import evaluate
    from vtrcli.training.train import train

    torch.set_num_threads(1)
    started = time.monotonic()
    changes = {**vars(setting), "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        train(
            store=demo / "store",
            dataset=DATASET,
            annotations=demo,
            out=out,
            settings=recipe_settings(RECIPE, changes),
            device="cpu",
        )
        inputs = split_inputs(demo, run=out)
    result = evaluate(inputs.source, inputs.truth, num_bootstrap=0)
    num_videos = len({path.stem for path in (demo / "videos").glob("*.mp4")})
    clips = [clip for clip in plan_corpus(num_videos=num_videos) if clip.split == "test"]
    found = find("", inputs, clips)
    v2t = result.v2t.recall[1] if result.v2t else float("nan")
    return Outcome(result.t2v.recall[1], v2t, found.order_accuracy, time.monotonic() - started)


def cell(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values) if len(values) > 1 else 0:.1f}"


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path, help="folder that `vtr demo` left")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rows = settings()
    jobs = [(row, seed) for row in rows for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(run_one, itertools.repeat(options.demo), *zip(*jobs, strict=True)))
    print("| aggregator | gate | experts | DSL T | t2v R@1 | v2t R@1 | order of frames | s per run |")
    print("|---|---|---|---|---|---|---|---|")
    for number, row in enumerate(rows):
        outcomes = done[number * options.seeds : (number + 1) * options.seeds]
        figures = [cell([getattr(item, name) for item in outcomes]) for name in ("t2v", "v2t", "order")]
        gate = "-" if len(row.experts) == 1 else row.gate
        temperature = "-" if row.dsl_temperature is None else f"{row.dsl_temperature:g}"
        seconds = statistics.mean(item.seconds for item in outcomes)
        values = [row.aggregator, gate, "+".join(row.experts), temperature, *figures, f"{seconds:.0f}"]
        print(f"| {' | '.join(values)} |")


if __name__ == "__main__":
    main()
