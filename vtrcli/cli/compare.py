"""`vtr compare`: is B better than A? A paired test on the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from vtrcli.cli import options
from vtrcli.cli.eval_moments import PARTS
from vtrcli.cli.options import arg, opt
from vtrcli.cli.output import Column, count, print_columns, print_json, say
from vtrcli.errors import UsageError

if TYPE_CHECKING:
    from vtrcli.evaluation.comparison import Contender, RanksFile
    from vtrcli.ranking.metrics import Direction, PairedTest

NAME = "compare"
MIXED = "one side saw all queries at once (transductive), the other did not"
EPILOG = "Example: [bold]vtr eval --save-ranks a.json[/bold] (and b.json), then [bold]vtr compare a.json b.json[/bold]"


def command(
    context: typer.Context,
    files: list[str] = arg(
        "A B ...",
        "What `vtr eval --save-ranks` wrote, with --moments too. A comma joins seeds: b-1.json,b-2.json",
    ),
    direction: Literal["t2v", "v2t"] | None = opt("--direction", "One direction.", shown="both"),
    method: str = opt("--method", "Row of A: none, dsl, dsl+bank (with `vtr eval --bank`) …", default="none"),
    method_b: str | None = opt("--method-b", "Row of B, of two files.", shown="as --method"),
    metric: str = opt(
        "--metric", "Of more than two, and of seeds: R@1, R@5, R@10, R@50, MnR, MRR.", default="R@1"
    ),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Test whether B is better than A, query by query: a permutation test of the paired differences.

    Of more than two, each is tested against the first, and the p-values are corrected for their number (Holm). Seeds
    that are joined count as one, by their mean. What else differs between the files is said first.
    """
    from vtrcli.evaluation.comparison import read_contenders, remarks
    from vtrcli.evaluation.moments import is_scores_file

    if any(is_scores_file(Path(file)) for file in files):
        ways_of_ranks = ("direction", "method", "method_b", "metric")
        options.refuse_typed(
            context,
            ways_of_ranks,
            beside="with scores of moments",
            allowed="it chooses a row of ranks",
            to_do="leave it out",
        )
        return compare_moments(files, json_output=json_output, quiet=quiet)
    contenders = read_contenders(files)
    known = list(remarks(contenders))
    for remark in known:
        say(f"note: {remark}", quiet=quiet)
    ways: tuple[Direction, ...] = (direction,) if direction else both_or_one(contenders)
    if len(contenders) > 2 or any(len(one.files) > 1 for one in contenders):
        if method_b:
            raise UsageError(
                "--method-b with more than two files",
                allowed="it chooses the row of B, of two files",
                to_do="compare the two, or leave it out",
            )
        return compare_many(
            contenders, ways, method, metric, remarks=known, json_output=json_output, quiet=quiet
        )
    if options.was_typed(context, "metric"):
        raise UsageError(
            f"--metric {metric} with two files",
            allowed="two are compared by all metrics",
            to_do="leave it out",
        )
    a, b = (one.files[0] for one in contenders)
    compare_two(a, b, ways, (method, method_b or method), remarks=known, json_output=json_output, quiet=quiet)


def both_or_one(contenders: Sequence[Contender]) -> tuple[Direction, ...]:
    """Directions that all files have: a cut run has one."""
    ways: tuple[Direction, ...] = ("t2v", "v2t")
    files = [file for one in contenders for file in one.files]
    shared = tuple(
        way for way in ways if all(any(row.metrics.direction == way for row in file.rows) for file in files)
    )
    return shared or ways


def compare_two(
    first: RanksFile,
    second: RanksFile,
    ways: Sequence[Direction],
    methods: tuple[str, str],
    *,
    remarks: list[str],
    json_output: bool,
    quiet: bool,
) -> None:
    """Every metric of both."""
    from vtrcli.evaluation.comparison import choose_row
    from vtrcli.ranking.metrics import compare

    tests_per_way = []
    for way in ways:
        a = choose_row(first, direction=way, method=methods[0])
        b = choose_row(second, direction=way, method=methods[1])
        if a.transductive != b.transductive:
            say(f"note: {way}: {MIXED}", quiet=quiet)
        tests_per_way.append((str(way), compare(a.metrics, b.metrics, ties=a.ties)))
    if json_output:
        results = [
            {"direction": way, "metric": name, **vars(test)}
            for way, tests in tests_per_way
            for name, test in tests.items()
        ]
        body = {"a": str(first.path), "b": str(second.path), "results": results, "remarks": remarks}
        print_json(NAME, body)
        return
    print_tests(tests_per_way, quiet=quiet)


def compare_many(
    contenders: Sequence[Contender],
    ways: Sequence[Direction],
    method: str,
    metric: str,
    *,
    remarks: list[str],
    json_output: bool,
    quiet: bool,
) -> None:
    """One metric of all, each against the first."""
    from vtrcli.evaluation.comparison import standings

    found = [
        row for way in ways for row in standings(contenders, direction=way, method=method, metric=metric)
    ]
    if json_output:
        print_json(NAME, {"metric": metric, "results": [vars(row) for row in found], "remarks": remarks})
        return
    headings = ("", "run", metric, "95 %", "- first", "95 %", "p", "p (Holm)")
    columns = [
        Column(heading, is_right=number > 1, leaves={3: 1, 6: 2}.get(number, 0))
        for number, heading in enumerate(headings)
    ]
    rows, before = [], None
    for row in found:
        mean = f"{row.mean:.2f}" if row.deviation is None else f"{row.mean:.2f} ± {row.deviation:.2f}"
        interval = "" if row.ci95 is None else "{:.1f}-{:.1f}".format(*row.ci95)
        gain = "" if row.difference is None else f"{row.difference:+.2f}"
        of_gain = "" if row.difference_ci95 is None else "{:+.2f} to {:+.2f}".format(*row.difference_ci95)
        way = row.direction if row.direction != before else ""
        rows.append((way, row.name, mean, interval, gain, of_gain, shown_p(row.p_value), shown_p(row.p_holm)))
        before = row.direction
    print_columns(columns, rows)
    num = len(contenders) - 1
    say(
        f"p (Holm): in each direction corrected for {count(num, 'comparison')} with {contenders[0].name}",
        quiet=quiet,
    )
    if any(len(one.files) > 1 for one in contenders):
        say("±: deviation over seeds; tests and intervals are of the queries' means over seeds", quiet=quiet)


def shown_p(value: float | None) -> str:
    """Three decimals, as far as the number of swaps can tell."""
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def compare_moments(files: Sequence[str], *, json_output: bool, quiet: bool) -> None:
    """Every metric of moments that both files have, part by part."""
    from vtrcli.evaluation.moments import compare_files, read_scores

    if len(files) != 2:
        raise UsageError(
            f"{len(files)} files, with scores of moments among them",
            allowed="two files of moments are compared",
            to_do="compare them in pairs",
        )
    first, second = map(Path, files)
    parts = compare_files(read_scores(first), read_scores(second))
    if json_output:
        results = [
            {"part": part, "metric": name, **vars(test)}
            for part, tests in parts.items()
            for name, test in tests.items()
        ]
        print_json(NAME, {"a": str(first), "b": str(second), "results": results})
    else:
        print_tests([(PARTS.get(part, part), tests) for part, tests in parts.items()], quiet=quiet)


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
            means = (f"{test.mean_a:.2f}", f"{test.mean_b:.2f}", f"{test.difference:+.2f}")
            rows_shown.append((way, name, *means, interval, shown_p(test.p_value)))
    print_columns(
        [Column(heading, is_right=heading not in ("", "metric")) for heading in headings], rows_shown
    )
    for way, tests in tests_per_way:
        num = next(iter(tests.values())).num_clusters
        few = "" if num >= MIN_CLUSTERS else f"; below {MIN_CLUSTERS} there is no interval"
        say(f"{way}: {count(num, 'video')} resampled with all their queries{few}", quiet=quiet)
