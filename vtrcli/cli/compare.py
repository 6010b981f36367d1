"""`vtr compare`: is B better than A? A paired test on the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from vtrcli.cli import options
from vtrcli.cli.options import arg, opt
from vtrcli.cli.output import Column, count, print_columns, print_json, say
from vtrcli.errors import UsageError

if TYPE_CHECKING:
    from vtrcli.ranking.metrics import PairedTest

NAME = "compare"
EPILOG = "Example: [bold]vtr eval --save-ranks a.json[/bold] (and b.json), then [bold]vtr compare a.json b.json[/bold]"


def command(
    context: typer.Context,
    first: Path = arg("A", "What `vtr eval --save-ranks` wrote, with --moments too."),
    second: Path = arg("B", "The same of the same queries."),
    direction: Literal["t2v", "v2t"] | None = opt("--direction", "One direction.", shown="both"),
    method: str = opt("--method", "Row of A: none, dsl, dsl+bank (with `vtr eval --bank`) …", default="none"),
    method_b: str | None = opt("--method-b", "Row of B.", shown="as --method"),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Test whether B is better than A, query by query: a permutation test of the paired differences."""
    from vtrcli.evaluation.evaluate import choose_row, read_ranks, require_same_queries
    from vtrcli.evaluation.moments import is_scores_file
    from vtrcli.ranking.metrics import compare

    if is_scores_file(first) or is_scores_file(second):
        refuse_ways(context)
        return compare_moments(first, second, json_output=json_output, quiet=quiet)
    files = read_ranks(first), read_ranks(second)
    doubt = require_same_queries(*files)
    if doubt:
        say(f"note: {doubt}", quiet=quiet)
    tests_per_way = []
    for way in (direction,) if direction else ("t2v", "v2t"):
        a = choose_row(files[0], direction=way, method=method)
        b = choose_row(files[1], direction=way, method=method_b or method)
        if a.transductive != b.transductive:
            say(
                f"note: {way}: one side saw all queries at once (transductive), the other did not",
                quiet=quiet,
            )
        tests_per_way.append((way, compare(a.metrics, b.metrics, ties=a.ties)))
    if json_output:
        results = [
            {"direction": way, "metric": name, **vars(test)}
            for way, tests in tests_per_way
            for name, test in tests.items()
        ]
        print_json(NAME, {"a": str(first), "b": str(second), "results": results})
        return
    print_tests(tests_per_way, quiet=quiet)


def refuse_ways(context: typer.Context) -> None:
    """Raise UsageError for an option about ranks."""
    for name in ("direction", "method", "method_b"):
        if options.was_typed(context, name):
            raise UsageError(
                f"--{name.replace('_', '-')} with scores of moments",
                allowed="it chooses a row of ranks",
                to_do="leave it out",
            )


def compare_moments(first: Path, second: Path, *, json_output: bool, quiet: bool) -> None:
    """Every metric of moments that both files have, part by part."""
    from vtrcli.evaluation.moments import compare_files, read_scores

    parts = compare_files(read_scores(first), read_scores(second))
    if json_output:
        results = [
            {"part": part, "metric": name, **vars(test)}
            for part, tests in parts.items()
            for name, test in tests.items()
        ]
        print_json(NAME, {"a": str(first), "b": str(second), "results": results})
    else:
        print_tests(list(parts.items()), quiet=quiet)


def print_tests(tests_per_way: Sequence[tuple[str, dict[str, PairedTest]]], *, quiet: bool) -> None:
    """A row per metric, and how many videos were resampled."""
    from vtrcli.ranking.metrics import MIN_CLUSTERS

    headings = ("", "metric", "A", "B", "B - A", "95 %", "p")
    rows_shown = []
    for way, tests in tests_per_way:
        for name, test in tests.items():
            interval = (
                "none" if test.difference_ci95 is None else "{:+.2f} to {:+.2f}".format(*test.difference_ci95)
            )
            p = "< 0.001" if test.p_value < 0.001 else f"{test.p_value:.3f}"
            means = (f"{test.mean_a:.2f}", f"{test.mean_b:.2f}", f"{test.difference:+.2f}")
            rows_shown.append((way, name, *means, interval, p))
    print_columns(
        [Column(heading, is_right=heading not in ("", "metric")) for heading in headings], rows_shown
    )
    for way, tests in tests_per_way:
        num = next(iter(tests.values())).num_clusters
        few = "" if num >= MIN_CLUSTERS else f"; below {MIN_CLUSTERS} there is no interval"
        say(f"{way}: {count(num, 'video')} resampled with all their queries{few}", quiet=quiet)
