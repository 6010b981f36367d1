"""`vtr search` and what belongs to it, as commands: options, outputs, exit codes."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from tests.cli.runner import run, run_json
from vtrcli.cli.output import log_shown
from vtrcli.store.maps import PartFile
from vtrcli.video.probe import probe


@pytest.fixture(autouse=True)
def in_demo(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that the demo leaves, with the settings that `vtr demo` writes."""
    monkeypatch.chdir(demo)
    (demo / "vtr.toml").write_text(
        'store = "store"\nbackbone = "demo"\ndataset = "csv"\nannotations = "."\n', encoding="utf-8"
    )


def ids(body: dict[str, object]) -> list[str]:
    return [row["video_id"] for row in body["results"]]  # type: ignore[attr-defined]


def test_the_json_has_the_keys_of_the_contract() -> None:
    body = run_json("search", "a red circle", "-k", "3", "--run", "none")
    assert (body["command"], body["query"], body["run"], body["num_videos"]) == (
        "search",
        "a red circle",
        None,
        24,
    )
    first = body["results"][0]
    assert first.keys() == {
        "rank", "video_id", "path", "score", "relevance", "start_seconds", "end_seconds", "peak_seconds", "missing",
        "moments", "corrected_score", "probability", "replaced", "twins", "store", "chain",
    }  # fmt: skip
    assert first["moments"][0]["peak_seconds"] == first["peak_seconds"]
    assert Path(first["path"]).is_file() and first["relevance"] is None


def test_words_need_no_quotes_and_the_newest_run_ranks(demo: Path) -> None:
    quoted = run_json("search", "a red circle")
    assert quoted["run"] == str(demo / "runs" / "demo")
    assert run_json("search", "a", "red", "circle") == quoted
    assert ids(run_json("search", "a red circle", "--run", "runs/demo")) == ids(quoted)


def test_a_newest_run_that_does_not_fit_the_store_is_passed_over(demo: Path) -> None:
    path = demo / "runs" / "demo" / "config.json"
    text = path.read_text()
    config = json.loads(text)
    config["backbone"]["sha256"] = "0" * 64
    path.write_text(json.dumps(config))
    try:
        result = run("search", "a red circle", "--json")
        assert result.exit_code == 0 and json.loads(result.stdout)["run"] is None
        assert "plain CLIP ranks" in result.stderr
        assert run("search", "a red circle", "--run", "runs/demo").exit_code == 4
    finally:
        path.write_text(text)


def test_a_newest_run_without_weights_is_passed_over(demo: Path) -> None:
    run_folder = demo / "runs" / "begun"
    run_folder.mkdir()
    shutil.copy(demo / "runs" / "demo" / "config.json", run_folder)
    try:
        result = run("search", "a red circle", "--json")
        older = str(demo / "runs" / "demo")
        assert result.exit_code == 0 and json.loads(result.stdout)["run"] == older
        assert result.stderr == f"note: run {run_folder} has no weights yet: run {older} ranks\n"
        assert run("search", "a red circle", "--run", str(run_folder)).exit_code == 4
        (demo / "vtr.toml").write_text('store = "store"\nrun = "none"\n')
        assert run_json("search", "a red circle")["run"] is None
    finally:
        shutil.rmtree(run_folder)


def test_the_table_names_times_and_files() -> None:
    result = run("search", "a red circle", "-k", "2", "--moments")
    assert result.exit_code == 0 and result.stderr.startswith("ranked by ")
    assert result.stderr.endswith("runs/demo (--run none: plain CLIP)\n") and result.stderr.count("\n") == 1
    assert run("search", "a red circle", "--run", "none").stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 2 and all(" videos/" in line and "-0:0" in line for line in lines)


def test_paths_are_printed_for_pipes_each_once() -> None:
    expected = {row["path"] for row in run_json("search", "a red circle", "--moments")["results"]}
    lines = run("search", "a red circle", "--moments", "--paths").stdout.splitlines()
    assert len(lines) == len(set(lines)) and set(lines) == expected
    assert run("search", "a red circle", "--moments", "-0").stdout.split("\0")[:-1] == lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to search for; a sentence, --plus, --image or --like; describe the scene, "),
        (["--not", "x"], "only terms to avoid (--not); "),
        (["x", "--weights", "1,2"], "--weights 1,2 for 1 term; "),
        (["x", "--weights", "a"], "--weights 'a'; numbers with commas between them; write `--weights 2,1`"),
        (["x", "--json", "--paths"], "--paths with --json; "),
        (["x", "--queries", "-"], "a query beside --queries; one of them; "),
        (["--queries", "-", "--open"], "--open or --clips with --queries; "),
        (["x", "--min-duration", "soon"], "--min-duration 'soon'; seconds, M:SS or H:MM:SS; "),
        (
            ["x", "--min-duration", "9", "--max-duration", "1"],
            "the duration filter leaves nothing: from 0:09 to 0:01; ",
        ),
        (["x", "--within", "5"], "--within 5 without --then; the most time from one moment to the next; "),
        (["x", "--then", "y", "--within", "0"], "--within 0; more than 0 s: the next moment lies after "),
        (["x", "--then", "y", "--within", "soon"], "--within 'soon'; seconds, M:SS or H:MM:SS; "),
        (["--then", "y"], "nothing to search for; "),
        (["x", *["--then", "y"] * 10], "10 times --then; chains of up to 10 sentences; ask for fewer"),
        (
            ["x", "--then", "y", "--score", "mean"],
            "--score mean with --then; a chain is scored by one frame ",
        ),
        (["x", "--then", "y", "--dsl"], "a correction or a relevance for a chain of moments (--then); "),
        (["x", "--method", "sinkhorn"], "--method sinkhorn in a search; "),
        (["x", "--score", "mean", "--run", "runs/demo"], "--score mean with --run runs/demo; "),
        (["x", "--score", "mean", "--milvus", "x.db"], "--score mean with --milvus; "),
        (["x", "--explain", "--milvus", "x.db"], "--explain of several stores, of --milvus or of --paths; "),
        (["x", "--gallery", "dog.mp4"], "--gallery dog.mp4; a file that ends in .html; "),
        (["x", "--edl", "dog.mp4"], "--edl dog.mp4; a file that ends in .edl; write `--edl found.edl`"),
        (["x", "--otio", "no/such/cut.otio"], "no/such/cut.otio cannot be written; "),
        (["x", "--gallery", ""], "--gallery .; a file that ends in .html; "),
        (
            ["x", "--before", "2020", "--after", "2021"],
            "the date filter leaves nothing: from 2021-01-01 ",
        ),
        (["x", "--dsl", "--method", "nnn"], "--dsl with --method nnn; one correction; leave one of them out"),
        (["x", "--gallery", "no/such/folder.html"], "no/such/folder.html cannot be written; "),
    ],
)
def test_wrong_usage_is_told_before_anything_is_loaded(options: list[str], message: str) -> None:
    result = run("search", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"vtr: {message}") and result.stderr.count("\n") == 1


def test_bad_inputs_have_their_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no picture")
    assert run("search", "").exit_code == 3
    assert run("search", "--image", str(tmp_path / "no.png")).exit_code == 3
    assert run("search", "--like", "nowhere.mp4").exit_code == 3
    name = run_json("search", "x", "-k", "1")["results"][0]["video_id"]
    beyond = run("search", "--like", f"{name}@1:00")
    assert beyond.exit_code == 3 and beyond.stderr.startswith(f"vtr: --like {name}@1:00: the video is 0:0")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\n")
    assert run("search", "--queries", str(tmp_path / "binary.txt")).exit_code == 3
    assert run("search", "x", "--dsl").exit_code == 4
    assert run("search", "x", "--run", "nowhere").exit_code == 4
    assert run("search", "x", "--store", "nowhere").exit_code == 4


def test_chains_are_told_in_every_output(tmp_path: Path) -> None:
    arguments = ["a red circle", "--then", "a green arrow", "--within", "30", "-k", "2", "--run", "none"]
    body = run_json("search", *arguments, "--clips", str(tmp_path / "cut"))
    assert body["query"] == "a red circle, then a green arrow (within 30 s)"
    for row, clip in zip(body["results"], body["clips"], strict=True):
        first, second = row["chain"]
        assert (first["query"], second["query"]) == ("a red circle", "a green arrow")
        assert first["peak_seconds"] < second["peak_seconds"] <= first["peak_seconds"] + 30
        assert first["end_seconds"] <= second["start_seconds"]
        assert (row["start_seconds"], row["end_seconds"]) == (first["start_seconds"], second["end_seconds"])
        both = (first["standard_score"] + second["standard_score"]) / 2
        assert row["score"] == pytest.approx(both, abs=0.011)
        assert row["relevance"] is None and Path(clip["clip"]).is_file()
    table = run("search", *arguments, "--gallery", str(tmp_path / "found.html")).stdout.splitlines()
    assert len(table) == 2 and " then 0:0" in table[0]
    page = (tmp_path / "found.html").read_text()
    assert page.count("<img") == 4 and page.count("a green arrow") >= 2
    (tmp_path / "lines.txt").write_text("a red circle\na blue ring\n")
    lines = run("search", "--queries", str(tmp_path / "lines.txt"), *arguments[1:]).stdout.splitlines()
    asked = [json.loads(line)["query"] for line in lines]
    assert asked == [f"{text}, then a green arrow (within 30 s)" for text in ("a red circle", "a blue ring")]


def test_filters_are_options() -> None:
    body = run_json("search", "x", "-k", "99", "--path", "slide*", "--path", "videos/rise*")
    assert body["results"] and all(name.startswith(("slide", "rise")) for name in ids(body))
    assert run_json("search", "x", "--after", "2999")["results"] == []
    assert len(run_json("search", "x", "--before", "2999-01-01", "-k", "99")["results"]) == 24
    assert run_json("search", "x", "--min-size", "1GB")["results"] == []
    nothing = run("search", "x", "--max-duration", "0:00.1")
    assert (nothing.exit_code, nothing.stdout.strip()) == (0, "")
    assert nothing.stderr == "note: no result: --max-duration 0:00.1 left 0 of 24 videos\n"


def test_many_queries_give_one_line_each_and_errors_their_own(tmp_path: Path) -> None:
    body = f"a red circle\n\n{'x' * 10_001}\na green arrow\r\n".encode()
    result = run("search", "--queries", "-", "-k", "1", stdin=body)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["query"][:13] for row in rows] == ["a red circle", "x" * 13, "a green arrow"]
    assert (
        "error" in rows[1] and rows[0]["results"] == run_json("search", "a red circle", "-k", "1")["results"]
    )
    assert result.exit_code == 3
    (tmp_path / "queries.txt").write_bytes(b"a red circle\n")
    page = tmp_path / "page.html"
    told = run("search", "--queries", str(tmp_path / "queries.txt"), "-k", "2", "--gallery", str(page))
    assert told.exit_code == 0 and "a red circle" in page.read_text("utf-8")
    assert run("search", "--queries", str(tmp_path / "none.txt")).exit_code == 3


def test_clips_and_a_gallery_are_made(tmp_path: Path) -> None:
    out, page = tmp_path / "clips", tmp_path / "found.html"
    body = run_json("search", "a red circle", "-k", "2", "--clips", str(out), "--gallery", str(page))
    assert len(body["clips"]) == 2 and page.stat().st_size > 3000
    for row in body["clips"]:
        assert Path(row["clip"]).parent == out
        assert 1.5 < (probe(row["clip"], timeout_seconds=10).duration_seconds or 0) < 5


def test_timelines_for_editors_are_made(tmp_path: Path) -> None:
    files = {kind: tmp_path / f"cut.{kind}" for kind in ("edl", "otio", "fcpxml", "xml", "csv")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    told = run("search", "a red circle", "-k", "3", "--moments", "--json", *options)
    body = json.loads(told.stdout)
    cuts = body["timeline"]["cuts"]
    assert told.exit_code == 0 and len(cuts) == 3 and body["timeline"]["failures"] == []
    for cut, hit in zip(cuts, body["results"], strict=True):
        rate = Fraction(cut["frame_rate"])
        assert (cut["path"], cut["rank"]) == (hit["path"], hit["rank"])
        assert 0 <= hit["start_seconds"] * rate - cut["start_frame"] < 1.01
        assert cut["start_timecode"] in files["edl"].read_text()
    assert f"{files['csv']}: 3 moments, 0:0" in told.stderr
    assert all("a red circle" in path.read_text("utf-8") for path in files.values())
    again = run("search", "a red circle", *options)
    assert again.exit_code == 2 and again.stdout == "" and f"{files['xml']} exists" in again.stderr


def test_the_answers_to_several_queries_follow_each_other_on_one_timeline(tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("a red circle\na blue square\n")
    cut = tmp_path / "cut.csv"
    told = run("search", "--queries", str(tmp_path / "queries.txt"), "-k", "2", "--csv", str(cut))
    assert told.exit_code == 0 and len(told.stdout.splitlines()) == 2
    rows = list(csv.DictReader(cut.read_text("utf-8").splitlines()))
    assert [row["Marker Name"] for row in rows] == ["a red circle"] * 2 + ["a blue square"] * 2
    assert [row["Rank"] for row in rows] == ["1", "2", "1", "2"]
    assert rows[0]["Out"] == rows[1]["In"] and rows[1]["Out"] == rows[2]["In"]


def test_a_video_that_is_gone_makes_room_or_is_marked_and_its_clip_is_a_failure(
    demo: Path, tmp_path: Path
) -> None:
    path = Path(run_json("search", "a red circle", "-k", "1")["results"][0]["path"])
    shutil.move(path, tmp_path / path.name)
    try:
        without = run("search", "a red circle", "-k", "24")
        assert without.exit_code == 0 and path.name not in without.stdout
        assert len(without.stdout.splitlines()) >= 23
        assert "note: 1 better result is missing (--missing shows them" in without.stderr
        table = run("search", "a red circle", "-k", "1", "--missing")
        assert table.exit_code == 0 and f"{path.name} (missing)" in table.stdout
        body = run_json(
            "search", "a red circle", "-k", "2", "--missing", "--clips", str(tmp_path / "c"), exit_code=5
        )
        edl = str(tmp_path / "cut.edl")
        told = run("search", "a red circle", "-k", "2", "--missing", "--edl", edl)
        assert told.exit_code == 5 and f"failed: {path}: not-found: " in told.stderr
        assert "cut.edl: 1 moment, 0:0" in told.stderr
        assert body["results"][0]["missing"] is True
        assert body["clips"][0]["clip"] is None and body["clips"][0]["reason"] == "not-found"
        assert body["clips"][1]["clip"] is not None
    finally:
        shutil.move(tmp_path / path.name, path)


def test_a_replaced_file_is_marked_and_neither_cut_nor_opened_nor_printed(demo: Path, tmp_path: Path) -> None:
    rows = run_json("search", "a red circle", "-k", "2")["results"]
    path, other = (Path(row["path"]) for row in rows)
    shutil.move(path, tmp_path / path.name)
    shutil.copy(other, path)
    try:
        table = run("search", "a red circle", "-k", "1", "--open")
        assert f"{path.name} (replaced)" in table.stdout and "there is nothing to open" in table.stderr
        assert (
            "1 of these files was replaced since; `vtr extract` brings the store up to date" in table.stderr
        )
        body = run_json("search", "a red circle", "-k", "1", "--clips", str(tmp_path / "c"), exit_code=5)
        assert (body["results"][0]["replaced"], body["results"][0]["missing"]) == (True, False)
        assert body["clips"][0]["reason"] == "changed"
        assert run("search", "a red circle", "-k", "2", "--paths").stdout.splitlines() == [str(other)]
    finally:
        shutil.move(tmp_path / path.name, path)
    assert run_json("search", "a red circle", "-k", "1")["results"][0]["replaced"] is False


def test_several_stores_are_searched_as_one(demo: Path, tmp_path: Path) -> None:
    from vtrcli.extraction.extract import extract
    from vtrcli.video.sampling import Uniform

    videos = sorted((demo / "videos").glob("*.mp4"))
    stores = [tmp_path / "one", tmp_path / "two"]
    for number, store in enumerate(stores):  # six videos are in both
        extract(
            videos[9 * number : 9 * number + 15],
            store=store,
            backbone="demo",
            sampling=Uniform(num_frames=12),
        )
    named = [part for store in stores for part in ("--store", str(store))]
    whole = run_json("search", "a red circle", "-k", "30", "--run", "none")
    found = run_json("search", "a red circle", "-k", "30", "--run", "none", *named)
    assert found["store"] is None and found["stores"] == [str(store) for store in stores]
    assert [(row["path"], row["score"]) for row in found["results"]] == [
        (row["path"], row["score"]) for row in whole["results"]
    ]
    assert {row["store"] for row in found["results"]} == set(found["stores"])
    assert [row["rank"] for row in found["results"]] == list(range(1, 25))
    like = run_json("search", "--like", videos[-1].stem, "-k", "30", *named)
    assert len(like["results"]) == 23 and videos[-1].stem not in ids(like)
    assert like["run"] == str(demo / "runs" / "demo")
    refused = run("search", "x", "--dsl", *named)
    assert refused.exit_code == 2 and refused.stderr.startswith("vtr: dsl over several stores; ")
    config = json.loads((stores[1] / "store.json").read_text())
    config["backbone"]["sha256"] = "0" * 64
    (stores[1] / "store.json").write_text(json.dumps(config))
    shutil.rmtree(stores[1] / "shards")
    other = run("search", "x", *named)
    assert other.exit_code == 4 and "allowed" not in other.stderr and " of one backbone: " in other.stderr


@pytest.mark.parametrize(
    "arguments", [("eval", "--split", "val"), ("search", "x", "-k", "1"), ("store", "info", "--store", "a")]
)
def test_a_single_value_given_twice_is_refused(arguments: tuple[str, ...]) -> None:
    name, value = arguments[-2:]
    refused = run(*arguments, name, value)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(
        f"vtr: {'--top-k' if name == '-k' else name} was given 2 times; it has one value; "
    )


def test_the_player_is_started_at_the_moment(tmp_path: Path) -> None:
    log, player = tmp_path / "log", tmp_path / "my player"
    player.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{log}.tmp" && mv "{log}.tmp" "{log}"\n')
    player.chmod(0o755)
    result = run(
        "search", "a red circle", "--open", "--player", f"'{player}' --start={{seconds}} {{path}}", "--json"
    )
    assert result.exit_code == 0, result.stderr
    first = json.loads(result.stdout)["results"][0]
    for _ in range(100):
        if log.exists():
            break
        time.sleep(0.05)
    start, path = log.read_text().splitlines()
    assert start.startswith("--start=") and float(start[8:]) == pytest.approx(
        first["start_seconds"], abs=0.01
    )
    assert path == first["path"]
    assert run("search", "x", "--open", "--player", "no-such-program").exit_code == 2


def test_a_bank_from_captions_or_a_file_gives_relevance_and_corrections(demo: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(demo / "store", store)
    built = run_json("bank", "build", "--store", str(store), "--max-captions", "30")
    assert (built["command"], built["num_captions"], built["num_videos"]) == ("bank build", 30, 24)
    captions = tmp_path / "captions.txt"
    captions.write_text("\n".join(f"a thing of kind {number}" for number in range(25)), encoding="utf-8")
    built = run_json("bank", "build", "--store", str(store), "--texts", str(captions))
    assert (built["num_captions"], built["num_found"]) == (25, 25)
    info = run_json("bank", "info", "--store", str(store))
    assert info["num_captions"] == 25 and info["deviation"] > 0
    body = run_json("search", "a red circle", "--store", str(store), "--run", "none", "--dsl")
    assert body["notes"][0].startswith("dsl: corrected by the bank's 25 captions")
    assert all(row["relevance"] is not None for row in body["results"])
    assert run("bank", "build", "--store", str(store), "--texts", str(tmp_path / "none.txt")).exit_code == 3
    assert run("bank", "info").exit_code == 4


@pytest.mark.slow
def test_milvus_gives_the_same_answers_without_a_store(demo: Path, tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    uri = str(tmp_path / "vtr.db")
    pushed = run_json("milvus", "push", "--milvus", uri)
    assert (pushed["num_added"], list(pushed["num_vectors"].values())) == (24, [24])
    assert run_json("milvus", "push", "--milvus", uri)["num_unchanged"] == 24
    assert run_json("index", "push", "--milvus", uri)["num_unchanged"] == 24  # its old name
    for more in (["--run", "none"], ["--run", "runs/demo"]):
        for asked in (["a red circle"], ["a red circle", "--path", "s*", "--moments"]):
            local = run_json("search", *asked, *more)
            remote = run_json("search", *asked, *more, "--milvus", uri, "--store", "nowhere")
            assert ids(remote) == ids(local)
            for one, other in zip(local["results"], remote["results"], strict=True):
                assert one["score"] == pytest.approx(other["score"], abs=2e-3)
                assert one["peak_seconds"] == pytest.approx(other["peak_seconds"], abs=1e-3)
    name = ids(run_json("search", "a red circle", "--run", "none"))[0]
    assert name not in ids(run_json("search", "--like", f"{name}@0:01", "--milvus", uri))
    assert run("search", "--like", "nowhere", "--milvus", uri).exit_code == 3
    assert run("search", "x", "--dsl", "--milvus", uri).exit_code == 2
    chain = run("search", "x", "--then", "y", "--milvus", uri, "--run", "none")
    assert chain.exit_code == 2 and chain.stderr.startswith("vtr: --then with --milvus; a chain of moments ")
    gone = run("search", "x", "--milvus", "http://127.0.0.1:9", "--milvus-timeout", "2")
    assert gone.exit_code == 4 and gone.stderr.count("\n") == 1


def test_a_query_in_another_script_is_told_once(tmp_path: Path) -> None:
    told = run("search", "красный круг", "--json")
    note = "note: letters of another script (Cyrillic): demo was trained on English texts and finds little by them; "
    assert told.stderr.count(note) == 1 and json.loads(told.stdout)["unread_scripts"] == ["Cyrillic"]
    lines = tmp_path / "queries.txt"
    lines.write_text("красный круг\na red circle\nсиний круг\n", encoding="utf-8")
    many = run("search", "--queries", str(lines))
    assert many.stderr.count("letters of another script") == 1
    assert [json.loads(line)["unread_scripts"] for line in many.stdout.splitlines()] == [
        ["Cyrillic"],
        [],
        ["Cyrillic"],
    ]
    assert run_json("search", "a red circle")["unread_scripts"] == []


def test_verbose_says_what_computed_the_text_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*options: str) -> str:
        return run("search", f"a red circle, {id(monkeypatch)}", "--run", "none", *options).stderr

    assert said("--verbose") == "the text tower of demo is computed by NumPy\n"
    assert said("-v").endswith("was asked before: its vector is kept\n")
    with log_shown():  # as VTR_DEBUG does
        assert said("-v").count("its vector is kept\n") == 1
    assert said() == said("-v", "--quiet") == ""
    monkeypatch.setattr(PartFile, "mapped", lambda file: None)  # as where descriptors are scarce
    told = run("search", "a new one", "--run", "none", "-v").stderr
    assert re.fullmatch(
        r"the text tower of demo is computed by torch: .*\.safetensors cannot be mapped into memory\n", told
    )


def test_a_new_query_by_a_run_imports_no_torch() -> None:
    run("search", "a red circle")  # the videos' vectors are made by torch, and kept
    code = (
        "import sys; from vtrcli.cli.app import app; from typer.testing import CliRunner; "
        f"done = CliRunner().invoke(app, ['search', 'a star {time.time_ns()} jumps', '--json', '--no-server']); "
        "print(done.exit_code, '\"run\": null' in done.stdout, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 False False"
