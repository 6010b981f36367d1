from __future__ import annotations

import re
from dataclasses import replace

from tests.evaluation.reports import evaluated, make_inputs, small_result
from vtrcli.evaluation.report.sections import arrival_section, sweep_section
from vtrcli.ranking.evaluate import Arrival


def rows(section: str) -> list[list[str]]:
    body = section[section.index("<tbody>") : section.index("</tbody>")]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>")[:-1]]


def test_both_are_left_out_where_they_were_not_asked_for() -> None:
    result = evaluated(make_inputs())
    assert arrival_section(result) == sweep_section(result) == ""


def test_every_temperature_of_every_method_that_has_one_is_a_row_below_the_plain_one() -> None:
    told = [row[:2] for row in rows(sweep_section(small_result()))]
    assert told == [["none (plain)", "–"], ["dsl", "0.5"], ["dsl", "1"], ["dsl", "10"]]


def test_every_batch_size_of_every_method_is_a_row_below_the_plain_one() -> None:
    told = [row[:2] for row in rows(arrival_section(small_result()))]
    assert told == [["none (plain)", "–"]] + [[m, size] for m in ("dsl", "csls") for size in ("1", "8", "60")]


def test_what_is_worse_than_plain_is_marked() -> None:
    result = evaluated(make_inputs())
    plain = result.evaluations[0].t2v
    as_good = Arrival(
        batch_size=8,
        num_shuffles=1,
        recall=plain.recall,
        median_rank=plain.median_rank,
        mean_rank=plain.mean_rank,
    )
    worse = replace(as_good, recall={**plain.recall, 5: plain.recall[5] - 1}, mean_rank=plain.mean_rank + 1)
    section = arrival_section(
        replace(result, arrivals={("dsl", "t2v"): (as_good, worse), ("dsl", "v2t"): (worse, worse)})
    )
    marked = [["worse" in cell for cell in row[2:7]] for row in rows(section)]
    assert marked == [[False] * 5, [False] * 5, [False, True, False, False, True]]


def test_one_point_is_a_picture_too() -> None:
    result = evaluated(make_inputs(), arrival_sizes=(1,), sweep_temperatures=(1.0,))
    assert arrival_section(result).count("<svg") == sweep_section(result).count("<svg") == 2
