"""The trap table of docs/evaluation.md: vtr is right on all of it, and the habits it warns of still fail."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def traps() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("traps")


@pytest.fixture(scope="module")
def here(traps: ModuleType) -> dict:
    """Answers of vtr and of the scripts that need no torch."""
    asked = [one for one in traps.EVALUATORS if one.name in ("vtr", "sort, where", "argsort")]
    return traps.ask_all(asked)


def passed(traps: ModuleType, answers: dict) -> set[str]:
    return {name for name, make in traps.TRAPS.items() if traps.cell(answers[name], make()) == "ok"}


def test_vtr_is_right_on_ten_of_ten(traps: ModuleType, here: dict) -> None:
    assert len(traps.TRAPS) == 10
    assert passed(traps, here["vtr"]) == set(traps.TRAPS)
    refused = [one.error for one in here["vtr"]["NaN on, off diag"]]
    assert all(text.startswith("InputError: ") for text in refused)


def test_what_is_right_was_counted_by_hand(traps: ModuleType) -> None:
    right = {name: traps.right_answer(make()) for name, make in traps.TRAPS.items()}
    assert right["constant scores"] == "5"  # one of twenty, by chance
    assert right["NaN on, off diag"] == "error"
    assert right["all negative"] == "100"
    assert right["duplicate videos"] == right["renamed ids"]
    assert right["duplicate videos"] == "85"  # seven, and three halves
    assert (
        right["truncated run"] == "60 or 60.5"
    )  # six of ten; the text without a list missed, or one of twenty
    assert right["several videos"] == "80"


def test_scripts_fail_where_the_table_says(traps: ModuleType, here: dict) -> None:
    """Verdicts, not figures: which of equal scores a sort puts first depends on the processor."""
    assert passed(traps, here["sort, where"]) == {"constant scores", "all negative"}
    assert passed(traps, here["argsort"]) == {"all negative", "truncated run"}
    for name in ("sort, where", "argsort"):  # one matrix for both directions; right: 55, 50
        assert [one.value for one in here[name]["wrong DSL axis"]] == pytest.approx([55, 30])
    _, v2t = traps.TRAPS["wrong DSL axis"]()
    asked = traps.question(v2t)
    assert importlib.import_module("trap_cases").by_definition(asked.scores, asked.is_right) == pytest.approx(
        30
    )  # nothing was corrected


@pytest.mark.slow  # it imports torch
def test_topk_fails_where_the_table_says(traps: ModuleType) -> None:
    (found,) = traps.ask_all([one for one in traps.EVALUATORS if one.name == "topk"]).values()
    assert passed(traps, found) == {"all negative", "several captions", "truncated run", "several videos"}
    assert found["NaN on, off diag"][0].value == 100  # the scores of a broken model, and it looks perfect
    assert [one.value for one in found["wrong DSL axis"]] == pytest.approx([55, 30])


def test_the_page_holds_the_table_of_today(traps: ModuleType, here: dict) -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    _, begin, rest = page.partition(traps.BEGIN)
    text, end, _ = rest.partition(traps.END)
    assert begin and end
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    head, _, *rows = lines
    assert head == [cell.replace("|", ", ") for cell in traps.table(here)[0]]
    today = {row[0]: row for row in traps.table(here)[1:]}
    assert [row[0] for row in rows] == list(today)
    for row in rows[:-1]:
        assert row[1] == today[row[0]][1].replace("|", ", ")
        for name in here:
            place = head.index(name)
            assert (row[place] == "ok") == (today[row[0]][place] == "ok"), (row[0], name)


def test_packages_that_are_not_installed_are_counted(traps: ModuleType, here: dict) -> None:
    rows = traps.table({"vtr": here["vtr"]})
    assert rows[1][2:4] == ["ok", "not installed"]
    assert rows[-1][2:4] == ["10", "-"]
    present = dict.fromkeys((one.name for one in traps.EVALUATORS), "1.0") | {"mteb": None, "ranx": None}
    assert traps.about(present).endswith(" Not installed: 2 (mteb, ranx).")


def test_a_page_without_marks_is_refused_before_anything_is_asked(
    traps: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    for path in (page, tmp_path / "missing.md"):
        monkeypatch.setattr("sys.argv", ["traps.py", "--write", str(path)])
        with pytest.raises(SystemExit, match="the table goes between them"):
            traps.main()
    assert [one.name for one in tmp_path.iterdir()] == ["page.md"]
    assert page.read_text() == "nothing here\n"


def test_vtr_that_contradicts_itself_is_not_right(traps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = traps.TRAPS["all negative"]()
    (other,) = traps.TRAPS["float16 ties"]()
    by_matrix = traps.vtr_by_matrix
    monkeypatch.setattr(traps, "vtr_by_matrix", lambda _, options: by_matrix(other, options))
    evaluator = next(one for one in traps.EVALUATORS if one.name == "vtr")
    assert not traps.answer(evaluator, case).is_right(case)


def test_the_table_fits_a_terminal(traps: ModuleType, here: dict) -> None:
    rows = traps.table(here)
    for row in rows[1:-1]:
        row[3:10] = ["70|100"] * 7  # the longest that the packages say
    present = dict.fromkeys((one.name for one in traps.EVALUATORS), "1.0")
    blocks, _, _ = traps.screen(rows, present).partition("\n\nok: ")
    assert max(map(len, blocks.splitlines())) <= 80


def test_json_holds_no_nan(
    traps: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [one for one in traps.EVALUATORS if one.name in ("vtr", "sort, where")]
    monkeypatch.setattr(traps, "EVALUATORS", asked)
    monkeypatch.setattr("sys.argv", ["traps.py", "--json"])
    traps.main()
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["num_right"] == {"vtr": 10, "sort, where": 2}
    on, _ = found["answers"]["sort, where"]["NaN on, off diag"]
    assert on == {"said": "nan", "value": None, "error": None}
    assert found["right"]["duplicate videos"] == [[85.0], [85.0]]
