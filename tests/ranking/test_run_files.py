"""Runs and qrels from files: every layout gives the same numbers, and what cannot be trusted is named."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ranking.runs import diagonal, run_of, write_qrels, write_trec
from vtrcli.datasets.qrels import read_qrels
from vtrcli.errors import InputError
from vtrcli.ranking import run_files, trec
from vtrcli.ranking.run_files import read_run
from vtrcli.ranking.trec import Numbers, Words, decimals

RUN = {"q0": {"v0": 0.9, "v1": 0.5}, "q1": {"v0": 0.4, "v1": 0.3, "v2": 0.2}}
QRELS = {"q0": {"v0": 1}, "q1": {"v2": 1}}


def read(folder: Path, run: str, *, qrels: str | None = None, **options: object) -> run_files.RunFile:
    """What two texts say."""
    (folder / "run.trec").write_text(run)
    path = folder / "qrels"
    path.write_text(qrels) if qrels is not None else write_qrels(path, QRELS)
    return read_run(folder / "run.trec", read_qrels(path), **options)  # type: ignore[arg-type]


def lines(run: dict[str, dict[str, float]]) -> str:
    return "".join(f"{q} Q0 {v} 1 {score} t\n" for q, items in run.items() for v, score in items.items())


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("form", ["plain", "gz", "mark", "json", "json.gz"])
def test_every_layout_gives_the_same_scores(tmp_path: Path, newline: str, form: str) -> None:
    path = write_trec(tmp_path / "run", RUN, newline=newline)
    if form == "gz":
        path = tmp_path / "run.trec.gz"
        path.write_bytes(gzip.compress((tmp_path / "run").read_bytes()))
    elif form == "mark":
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    elif form.startswith("json"):
        path = tmp_path / f"run.{form}"
        content = json.dumps(RUN).replace(" ", newline).encode()
        path.write_bytes(gzip.compress(content) if form == "json.gz" else content)
    found = read_run(path, read_qrels(write_qrels(tmp_path / "qrels", QRELS, newline=newline)))
    assert (found.query_ids, found.video_ids) == (("q0", "q1"), ("v0", "v2", "v1"))
    expected = [[0.9, -np.inf, 0.5], [0.4, 0.2, 0.3]]
    assert found.scores.block(slice(0, 2), slice(0, 3)).tolist() == expected
    assert (found.truth.text_index.tolist(), found.truth.video_index.tolist()) == ([0, 1], [0, 1])
    assert found.notes == ()


def test_parquet_is_read_as_ranx_writes_it(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: no parquet")
    import pyarrow.parquet

    rows = [(query, item, score) for query, items in RUN.items() for item, score in items.items()]
    columns = dict(zip(("q_id", "doc_id", "score"), map(list, zip(*rows, strict=True)), strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "run.parquet")
    found = read_run(tmp_path / "run.parquet", read_qrels(write_qrels(tmp_path / "qrels", QRELS)))
    assert found.scores.block(slice(0, 2), slice(0, 3)).tolist() == [[0.9, -np.inf, 0.5], [0.4, 0.2, 0.3]]
    pyarrow.parquet.write_table(pyarrow.table({"q": ["a"]}), tmp_path / "run.parquet")
    with pytest.raises(
        InputError, match="no column q_id and no doc_id and no score; the columns that ranx writes"
    ):
        read_run(tmp_path / "run.parquet", read_qrels(tmp_path / "qrels"))


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq0\tv0\t1\nq1\tv2\t1\n",
        "q0 0 v0 1\r\nq1 0 v2 1\r\n",
        "q0\t0\tv0\t1\nq1\t0\tv2\t1",
        "\ufeffq0 0 v0 1\n\nq1 0 v2 1\n",
    ],
)
def test_qrels_are_told_apart_by_their_columns(tmp_path: Path, text: str) -> None:
    (tmp_path / "qrels").write_text(text, newline="")
    judgments = read_qrels(tmp_path / "qrels")
    assert [(one.query_id, one.item_id, one.grade) for one in judgments] == [("q0", "v0", 1), ("q1", "v2", 1)]


def test_a_file_in_pieces_and_in_any_order_is_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.random((20, 30)).astype(np.float32)
    (tmp_path / "sorted").write_text(lines(run_of(matrix, top=12)))
    shuffled = (tmp_path / "sorted").read_text().splitlines(keepends=True)
    rng.shuffle(shuffled)
    (tmp_path / "shuffled").write_text("".join(shuffled))
    qrels = read_qrels(write_qrels(tmp_path / "qrels", diagonal(20)))
    whole = read_run(tmp_path / "sorted", qrels)
    monkeypatch.setattr(trec, "_READ_BYTES", 100)
    for name in ("sorted", "shuffled"):
        found = read_run(tmp_path / name, qrels)
        columns = np.array([found.video_ids.index(video) for video in whole.video_ids])
        blocks = found.scores.block(slice(0, 20), columns), whole.scores.block(slice(0, 20), slice(0, 30))
        assert np.array_equal(*blocks)


def words_of(tokens: list[bytes]) -> Words:
    content = b" ".join(tokens)
    ends = np.cumsum([len(token) + 1 for token in tokens]) - 1
    text = np.frombuffer(content + bytes(64), np.uint8)
    return Words(content, text, ends - [len(token) for token in tokens], ends)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**25), 10**25), min_size=1)
)
def test_a_score_is_the_number_that_python_reads(numbers: list[float]) -> None:
    tokens = [
        form.encode() for number in numbers for form in (repr(number), f"{number:.6f}", f"{number:.3e}")
    ]
    assert decimals(words_of(tokens)).tolist() == [float(token) for token in tokens]


@given(st.lists(st.text(alphabet="0123456789.eE+-_x", min_size=1), min_size=1))
def test_a_score_that_python_does_not_read_is_none(texts: list[str]) -> None:
    tokens = [text.encode() for text in texts]
    try:
        expected = [float(token) for token in tokens]
    except ValueError:
        with pytest.raises(ValueError):
            decimals(words_of(tokens))
    else:
        assert decimals(words_of(tokens)).tolist() == expected


@given(
    st.lists(
        st.tuples(st.text("ab\u00fc", min_size=1, max_size=70), st.text("vw0", min_size=1, max_size=70)),
        min_size=1,
        max_size=30,
        unique=True,
    ),
    st.integers(1, 400),
)
def test_many_lines_at_once_are_what_one_by_one_are(pairs: list[tuple[str, str]], read_bytes: int) -> None:
    """Short and long ids, query by query or not, cut anywhere."""
    text = "".join(f"{query} Q0 {item} {place} {place / 7} t\n" for place, (query, item) in enumerate(pairs))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, "run")
        path.write_text(text, encoding="utf-8")
        patch.setattr(trec, "_READ_BYTES", read_bytes)
        found = {}
        for part in trec.trec_parts(path, queries := Numbers(), videos := Numbers()):
            names = [list(one) for one in (queries, videos)]
            for query, item, score in zip(part.queries, part.videos, part.scores, strict=True):
                found[names[0][query].decode(), names[1][item].decode()] = score
    assert found == {pair: place / 7 for place, pair in enumerate(pairs)}


def test_grades_are_cut_where_it_is_said(tmp_path: Path) -> None:
    qrels = "q0 0 v0 1\nq0 0 v1 2\nq1 0 v2 0\nq1 0 v1 1\n"
    both = read(tmp_path, lines(RUN), qrels=qrels)
    assert (both.query_ids, both.truth.num_texts, len(both.truth.video_index)) == (("q0", "q1"), 2, 3)
    assert both.truth.grades.tolist() == [1, 2, 1]
    high = read(tmp_path, lines(RUN), qrels=qrels, relevant_from=2)
    assert (high.query_ids, len(high.truth.video_index)) == (("q0",), 1)
    assert high.notes == ("1 queries of the qrels have no item of grade 2 or more and were left out: q1",)


def test_ids_that_only_one_side_has_are_told(tmp_path: Path) -> None:
    found = read(tmp_path, lines({**RUN, "q9": {"v0": 1.0}}), qrels="q0 0 v0 1\nq1 0 v2 1\nq7 0 v5 1\n")
    assert found.query_ids == ("q0", "q1", "q7")
    assert found.scores.lengths.tolist() == [2, 3, 0]
    assert found.notes == (
        "1 queries of the run are not in the qrels and were left out: q9",
        "1 of 3 queries are empty in the run: they count, and their right answers rank last: q7",
    )


def test_an_empty_query_counts(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"q0": {}, "q1": RUN["q1"]}))
    found = read_run(tmp_path / "run.json", read_qrels(write_qrels(tmp_path / "qrels", QRELS)))
    assert found.scores.lengths.tolist() == [0, 3]
    assert "1 of 2 queries are empty in the run" in found.notes[0]


@pytest.mark.parametrize("at_once", [10, 1 << 22])
@pytest.mark.parametrize(
    "rows",
    [
        ["q1 Q0 v0 1 0.4 t", "q1 Q0 v1 2 0.9 t"],
        ["q1 Q0 v0 1 5 t", "q1 Q0 v1 3 4 t", "q1 Q0 v2 2 6 t"],
        ["q1 Q0 v0 2 0.4 t", "q1 Q0 v1 1 0.1 t"],
    ],
)
def test_ranks_that_contradict_the_scores_are_told_and_the_scores_count(
    tmp_path: Path, rows: list[str], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trec, "_READ_BYTES", at_once)
    found = read(tmp_path, "q0 Q0 v0 1 0.9 t\n" + "\n".join(rows))
    note = "in 1 queries the ranks of the run contradict its scores: the scores count, as in trec_eval"
    assert [text for text in found.notes if "ranks" in text] == [note]


@pytest.mark.parametrize("ranks", [(1, 2, 3), (0, 1, 2), (1, 1, 1), (10, 20, 30)])
def test_ranks_that_fit_are_not_spoken_of(tmp_path: Path, ranks: tuple[int, ...]) -> None:
    rows = [f"q1 Q0 v{item} {rank} {1 - item / 10} t" for item, rank in enumerate(ranks)]
    assert read(tmp_path, "q0 Q0 v0 1 0.9 t\n" + "\n".join(rows[::-1])).notes == ()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            "q0 Q0 v0 1 0.9 t\nq1 Q0 v2 1 high t\n",
            "line 2: the score 'high'; a score is a number; six columns: query Q0",
        ),
        (
            "q0 Q0 v0 1 0.9 t\nq1 Q0 v2 first 1 t\n",
            "line 2: the rank 'first'; a rank is a whole number; six columns",
        ),
        (
            "q0 Q0 v0 1 0.9\n",
            "line 1 has 5 columns; six columns: query Q0 item rank score tag; write the run again, or",
        ),
        ("q0 Q0 v0 1 0.9\nq1 Q0 v2 1 1 t u\n", "line 1 has 5 columns; "),
        (
            "q0 Q0 v0 1 nan t\nq1 Q0 v2 1 1 t\n",
            "the query 'q0' holds NaN; every score must be finite: a rank among NaN",
        ),
        (
            "q0 Q0 v0 1 0.9 t\nq1 Q0 v2 1 -inf t\n",
            "the query 'q1' holds infinity; every score must be finite",
        ),
        (
            "q0 Q0 v0 1 0.9 t\nq0 Q0 v0 2 0.8 t\n",
            "the query 'q0' lists 'v0' twice; each item once per query: which of the",
        ),
        (
            "a Q0 v0 1 0.9 t\n",
            "none of the queries of the qrels is in the run: q0, q1 there, a here; the same ids of",
        ),
        (
            "q0 Q0 0 1 0.9 t\n",
            "none of the right items of the qrels is in the run: v0, v2 there, 0 here; the same ids of",
        ),
        ("", "none of the queries of the qrels is in the run: q0, q1 there, nothing here; "),
        (
            "\ufeffq0".encode("utf-16-le").decode("latin-1"),
            "it is UTF-16; a run is UTF-8 text; save it as UTF-8",
        ),
    ],
)
def test_a_run_that_cannot_be_trusted_is_refused(tmp_path: Path, run: str, message: str) -> None:
    (tmp_path / "run.trec").write_bytes(run.encode("latin-1") if "\0" in run else run.encode())
    with pytest.raises(InputError) as caught:
        read_run(tmp_path / "run.trec", read_qrels(write_qrels(tmp_path / "qrels", QRELS)))
    assert str(caught.value).startswith(f"{tmp_path / 'run.trec'}: {message}")


def change_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(lines(RUN).encode() * 1000)[:-20])


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        (
            "run.json",
            lambda path: path.write_text('{"q0": {"v0": "high"}}'),
            "the score 'high' of 'v0' for the query 'q0'",
        ),
        (
            "run.json",
            lambda path: path.write_text('{"q0": {"v0": 1, "v0": 2}}'),
            "the file has the key 'v0' twice",
        ),
        (
            "run.json",
            lambda path: path.write_text('{"q0": [1]}'),
            "JSON of another shape; {query: {item: number}}, as ranx",
        ),
        ("run.json", lambda path: path.write_text("{"), "the file is not JSON"),
        ("run.trec.gz", change_gzip, "cannot be read: Compressed file ended before"),
        ("nowhere", lambda path: None, "no such file; a run is a file; check the path"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_run(tmp_path / name, read_qrels(write_qrels(tmp_path / "qrels", QRELS)))
    assert str(caught.value).startswith(f"{tmp_path / name}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "no judgment at all; qrels name the right items of each query; check that it is the file of the relevance",
        ),
        (
            "q0 v0\n",
            "line 1 has 2 columns; TREC's `query 0 item grade`, BEIR's `query item grade` in tabs, or ranx's",
        ),
        (
            "q0 0 v0 yes\n",
            "the grade 'yes' in line 1; a grade is a whole number; 0 and below are wrong answers",
        ),
        (
            f"q 0 v {2**70}",
            f"the grade '{2**70}' in line 1; a grade is a whole number; 0 and below are wrong answers",
        ),
        (
            "q0 0 v0 1\nq0 0 v0 2\n",
            "'v0' has the grades 1 and 2 for the query 'q0'; one grade per query and item; leave",
        ),
    ],
)
def test_qrels_that_cannot_be_trusted_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "qrels").write_text(text)
    with pytest.raises(InputError) as caught:
        read_qrels(tmp_path / "qrels")
    assert str(caught.value).startswith(f"{tmp_path / 'qrels'}: {message}")


def test_qrels_without_a_right_item_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, lines(RUN), qrels="q0 0 v0 0\nq1 0 v2 0\n")
    assert str(caught.value) == (
        "qrels without a right item: the highest of 2 grades is 0; an item is right from grade 1 on; check the qrels, "
        "or set --relevant-from"
    )


def test_more_videos_may_have_been_ranked_than_are_named(tmp_path: Path) -> None:
    assert read(tmp_path, lines(RUN), num_videos=50).truth.num_videos == 50
    with pytest.raises(
        InputError, match="2 videos, but run and qrels name 3; the number of videos that were ranked"
    ):
        read(tmp_path, lines(RUN), num_videos=2)
