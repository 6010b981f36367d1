"""`vtr compare`: is B better than A? A paired test on the same queries."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vtrcli.cli import options
from vtrcli.cli.options import arg, opt
from vtrcli.cli.output import Column, count, print_columns, print_json, say

NAME = "compare"
EPILOG = "Example: [bold]vtr eval --save-ranks a.json[/bold] (and b.json), then [bold]vtr compare a.json b.json[/bold]"


def command(
    first: Path = arg("A", "Ranks that `vtr eval --save-ranks` wrote."),
    second: Path = arg("B", "Ranks of the same queries."),
    direction: Literal["t2v", "v2t"] | None = opt("--direction", "One direction.", shown="both"),
    method: str = opt("--method", "Row of A: none, dsl, dsl+bank (with `vtr eval --bank`) …", default="none"),
    method_b: str | None = opt("--method-b", "Row of B.", shown="as --method"),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Test whether B is better than A, query by query: a permutation test of the paired differences."""
    from vtrcli.evaluation.evaluate import choose_row, read_ranks, require_same_queries
    from vtrcli.ranking.metrics import compare

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
        num = tests["R@1"].num_clusters
        few = "" if num >= MIN_CLUSTERS else f"; below {MIN_CLUSTERS} there is no interval"
        say(f"{way}: {count(num, 'video')} resampled with all their queries{few}", quiet=quiet)
