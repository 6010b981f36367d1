"""Flag, environment, vtr.toml, default - in this order, for every option of every command."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.core import TyperOption

from tests.cli.runner import run, run_json
from tests.store.stores import make_store
from vtrcli.cli.app import app
from vtrcli.cli.config import _leaf_commands
from vtrcli.cli.settings import NOT_SETTINGS, WRITTEN_KEYS, TypedCommand, option_kinds
from vtrcli.store.reader import FeatureStore


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def effective(option: str, command: str = "extract") -> tuple[str, str]:
    for row in run_json("config")["values"]:
        if row["option"] == option and command in row["commands"].split(", "):
            return row["value"], row["source"]
    raise AssertionError(f"{option} is not shown")


def test_the_order_is_flag_environment_file_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert effective("backbone") == ("ViT-B/32", "default")
    (folder / "vtr.toml").write_text('backbone = "ViT-B/16"\n')
    value, source = effective("backbone")
    assert value == "ViT-B/16" and source.endswith("vtr.toml")
    monkeypatch.setenv("VTR_BACKBONE", "ViT-L/14")
    assert effective("backbone") == ("ViT-L/14", "VTR_BACKBONE")
    result = run("search", "a dog", "--store", "elsewhere")
    assert result.stderr.startswith("vtr: no feature store at elsewhere;")


def test_a_file_above_holds_and_its_paths_are_relative_to_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "vtr.toml").write_text('store = "s"\nvideos = ["a", "/b"]\n')
    (folder / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(folder / "deep" / "er")
    assert effective("store")[0] == str(folder / "s")
    assert effective("videos")[0] == f"{folder / 'a'}, /b"


def test_a_table_holds_for_its_command_alone(folder: Path) -> None:
    (folder / "vtr.toml").write_text('device = "cpu"\n[extract]\ndevice = "cuda"\nbatch-size = 7\n')
    assert effective("device", "extract")[0] == "cuda"
    assert effective("device", "search")[0] == "cpu"
    assert effective("batch_size")[0] == "7"


def test_the_store_setting_reaches_the_store_group(folder: Path) -> None:
    (folder / "vtr.toml").write_text('store = "s"\n')
    result = run("store", "info")
    assert result.exit_code == 4
    assert result.stderr.startswith(
        f"vtr: no feature store at {folder / 's'} (from `store` in {folder / 'vtr.toml'});"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('stor = "x"', "names 'stor', which is no option; one of the "),
        ("[extrct]\nfps = 1", "names 'extrct', which is no command; "),
        ("[extract]\nfsp = 1", "names 'fsp', which is no option of `vtr extract`; "),
        ("store = ", "cannot be read: "),
    ],
)
def test_a_mistake_in_the_file_is_usage_and_guesses_what_was_meant(
    folder: Path, text: str, message: str
) -> None:
    (folder / "vtr.toml").write_text(text)
    result = run("store", "info")
    assert result.exit_code == 2
    assert message in result.stderr
    if "which is no" in message:
        assert "did you mean" in result.stderr


def test_every_option_of_every_command_can_come_from_the_environment() -> None:
    root = typer.Context(typer.main.get_command(app))
    for path, command in _leaf_commands(root):
        for parameter in command.params:
            if isinstance(command, TypedCommand) and parameter.name != "store":
                continue  # what takes something away is typed
            if isinstance(parameter, TyperOption) and parameter.name not in NOT_SETTINGS:
                assert parameter.envvar == f"VTR_{(parameter.name or '').upper()}", (path, parameter.name)


def test_init_writes_a_file_that_holds_and_never_replaces_one_unasked(folder: Path) -> None:
    assert run("init", "--videos", 'my "films"', "--backbone", "demo").exit_code == 0
    assert effective("videos")[0] == str(folder / 'my "films"')
    assert effective("backbone")[0] == "demo"
    again = run("init")
    assert again.exit_code == 2
    assert again.stderr == (
        f"vtr: {folder / 'vtr.toml'} is there already; one vtr.toml per folder; edit it, or replace it with --force\n"
    )
    assert run("init", "--force").exit_code == 0
    assert (folder / "vtr.toml").read_text().startswith("# Settings of vtr")


@pytest.mark.parametrize("text", ["store = ", 'videos = "vids"\n', 'stor = "x"\n'])
def test_init_replaces_a_file_whatever_it_holds(folder: Path, text: str) -> None:
    (folder / "vtr.toml").write_text(text)
    result = run("init", "--force", "--videos", "films")
    assert result.exit_code == 0, result.output
    assert effective("videos")[0] == str(folder / "films")


def test_what_init_writes_is_known_without_asking_and_is_an_option(folder: Path) -> None:
    assert run("init").exit_code == 0
    written = re.findall(
        r"^(?:# )?(\w+) = ", (folder / "vtr.toml").read_text().split("# A table")[0], re.MULTILINE
    )
    assert set(written) == WRITTEN_KEYS
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {option for name in commands if name != "init" for option in option_kinds(commands[name])}
    assert known >= WRITTEN_KEYS


def test_init_in_a_folder_that_cannot_be_written_is_one_clear_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "vtr.toml").mkdir()
    result = run("init", "--force")
    assert result.exit_code == 3, result.output
    assert result.stderr.startswith(f"vtr: cannot write {folder / 'vtr.toml'}: ")


def test_words_stay_words_and_paths_are_relative_to_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "none").mkdir()
    (folder / "runs" / "a").mkdir(parents=True)
    (folder / "deep").mkdir()
    (folder / "vtr.toml").write_text(
        '[eval]\nrun = "none"\nbank = "train"\nsimilarities = "m.npy"\ntext-vectors = "/t.npy"\n'
        'method = "dsl"\n[train]\nout = "runs/b"\n'
    )
    monkeypatch.chdir(folder / "deep")
    assert effective("run", "eval")[0] == "none"
    assert effective("bank", "eval")[0] == "train"
    assert effective("similarities", "eval")[0] == str(folder / "m.npy")
    assert effective("text_vectors", "eval")[0] == "/t.npy"
    assert effective("method", "eval")[0] == "dsl"
    assert effective("out", "train")[0] == str(folder / "runs" / "b")
    (folder / "vtr.toml").write_text('[eval]\nrun = "runs/a"\n')
    assert effective("run", "eval")[0] == str(folder / "runs" / "a")


def test_videos_come_from_the_environment_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTR_VIDEOS", os.pathsep.join(("my films", "b")))
    assert effective("videos") == ("my films, b", "VTR_VIDEOS")
    result = run("extract", "--backbone", "demo", "--store", "s")
    assert result.exit_code == 3
    assert "my films" in result.stderr


def test_arguments_that_must_be_given_are_no_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTR_QUERY", "a dog")
    assert run("search").exit_code == 2
    (folder / "vtr.toml").write_text('query = "a dog"\n')
    assert "names 'query', which is no option; " in run("search", "x").stderr


@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
def test_numbers_are_finite(folder: Path, value: str) -> None:
    result = run("eval", "--similarities", "m.npy", "--temperature", value)
    assert result.exit_code == 2
    assert result.stderr == f"vtr: --temperature {value}; a finite number; give a number\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('top-k = "many"', "`top-k` in {file} is 'many'; a valid integer; mend it there; --top-k wins over it"),
        ("[search]\ntop-k = 0", "`top-k` of [search] in {file} is '0'; greater than or equal to 1; "),
        ("top_k = 1.5", "`top_k` in {file} is '1.5'; a valid integer; "),
        ("top_k = true", "`top_k` in {file} is 'true'; a valid integer; "),
        ('moments = "perhaps"', "`moments` in {file} is 'perhaps'; a valid boolean"),
        ('score = "median"', "`score` in {file} is 'median'; one of 'max', 'mean', 'softmax'; "),
        ('store = "nowhere"', "no feature store at {folder}/nowhere (from `store` in {file}); "),
        ('min-size = "big"', "--min-size 'big' (from `min-size` in {file}); bytes, or a number with "),
        ("min-relevance = nan", "--min-relevance nan (from `min-relevance` in {file}); a finite number; "),
    ],
)  # fmt: skip
def test_a_wrong_value_is_blamed_on_its_file_and_key(folder: Path, text: str, message: str) -> None:
    (folder / "vtr.toml").write_text(text)
    result = run("search", "a dog")
    wanted = message.format(file=folder / "vtr.toml", folder=folder)
    assert result.stderr.startswith(f"vtr: {wanted}"), result.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VTR_TOP_K", "many", "VTR_TOP_K is 'many'; a valid integer; mend it there; --top-k wins over it"),
        ("VTR_STORE", "nowhere", "no feature store at nowhere (from VTR_STORE); "),
        ("VTR_AFTER", "someday", "--after 'someday' (from VTR_AFTER); "),
    ],
)
def test_a_wrong_value_is_blamed_on_its_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    assert run("search", "a dog").stderr.startswith(f"vtr: {message}")
    assert "(from" not in run("search", "a dog", "--store", "elsewhere", "--after", "2020", "-k", "1").stderr


def test_a_wrong_value_is_shown_with_the_settings(folder: Path) -> None:
    (folder / "vtr.toml").write_text('top-k = "many"')
    assert effective("top_k", "search")[0] == "many (not a value that this option can have)"


def test_a_variable_that_nothing_reads_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTR_STROE", "films")
    monkeypatch.setenv("VTR_XYZZY", "1")
    monkeypatch.setenv("VTR_STORE", "films")
    assert run("search", "a dog").stderr.splitlines()[:2] == [
        "note: the variable VTR_STROE is no setting of vtr and changes nothing; did you mean VTR_STORE?",
        "note: the variable VTR_XYZZY is no setting of vtr and changes nothing; `vtr config` shows what holds",
    ]
    assert "note:" not in run("search", "a dog", "--quiet").stderr


# ---- a vtr.toml from a stranger


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('player = "touch {path}"', "it is a program that is run"),
        ('token = "root:secret"', "it is a secret, which a file that is passed on would give away"),
        ('report = "../.bashrc"', "a file of that name is overwritten"),
        ('[eval]\nsave-ranks = "x"', "a file of that name is overwritten"),
        (
            'milvus = "http://example.org:19530"',
            "it is an address to which vtr would send what it knows of the videos",
        ),
        (
            'milvus = "unix:/run/x.sock"',
            "it is an address to which vtr would send what it knows of the videos",
        ),
        ('ray = "example.org:6379"', "it is an address whose programs may run anything here"),
        ('[extract]\nray = "ray://x:1"', "it is an address whose programs may run anything here"),
    ],
)
def test_a_file_sets_no_program_no_secret_no_address_and_nothing_that_is_overwritten(
    line: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vtr.toml").write_text(line + "\n")
    monkeypatch.chdir(tmp_path)
    result = run("search", "red")
    assert result.exit_code == 2
    assert why in result.stderr and "remove it from the file" in result.stderr


def test_a_file_may_choose_the_ray_cluster_of_this_machine(folder: Path) -> None:
    (folder / "vtr.toml").write_text('[extract]\nray = "local"\n')
    assert effective("ray")[0] == "local"


def test_a_file_sends_runs_nowhere_but_below_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "link").symlink_to(project)
    monkeypatch.chdir(project)
    for inside in ("runs/a", str(project / "x"), "../link/runs"):
        (project / "vtr.toml").write_text(f"out = {json.dumps(inside)}\n")
        assert "outside its folder" not in run("train").stderr
    (project / "away").symlink_to(tmp_path)
    for outside in ("../runs", str(tmp_path), "~/.ssh", "away/runs"):
        (project / "vtr.toml").write_text(f"[train]\nout = {json.dumps(outside)}\n")
        result = run("train")
        assert result.exit_code == 2 and "which is outside its folder" in result.stderr


def test_settings_never_widen_what_is_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path / "store", {"a": np.ones((2, 4)), "b": np.ones((2, 4))})
    (tmp_path / "vtr.toml").write_text('videos = "videos"\nstore = "store"\n')
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("VTR_MISSING", "1"),
        ("VTR_VIDEOS", "a"),
        ("VTR_UNDER", "/"),
        ("VTR_DROP_FRAMES", "1"),
    ):
        monkeypatch.setenv(name, value)
    result = run("store", "prune")
    assert result.exit_code == 2, result.output  # nothing was named
    result = run("store", "prune", "a")
    assert result.exit_code == 0, result.output
    assert list(FeatureStore(store).videos) == ["b"]


@pytest.mark.parametrize("key", ["missing = true", 'under = "/"', "drop_frames = true"])
def test_a_file_cannot_prune(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vtr.toml").write_text(f"[store]\n{key}\n")
    monkeypatch.chdir(tmp_path)
    assert "which is no option of `vtr store`" in run("store", "info").stderr


def test_a_file_above_is_named_and_one_of_another_user_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vtr.toml").write_text('store = "elsewhere"\n')
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    shown = f"settings: {tmp_path / 'vtr.toml'}\n"
    assert shown in run("store", "info").stderr
    assert shown not in run("search", "red", "--quiet").stderr
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(tmp_path / "vtr.toml", 54321, -1)
    result = run("store", "info")
    assert f"note: {tmp_path / 'vtr.toml'} belongs to another user and is passed over\n" in result.stderr
    assert "elsewhere" not in result.stderr
    os.chown(work, 54321, -1)  # who works in a folder of that user trusts him
    assert "elsewhere" in run("store", "info").stderr


def test_a_store_for_search_may_be_a_list_and_is_shown_once_where_it_is_the_same(folder: Path) -> None:
    def stores() -> list[tuple[str, str]]:
        values = run_json("config")["values"]
        return [(row["value"], row["commands"]) for row in values if row["option"] == "store"]

    assert len(stores()) == 1
    (folder / "vtr.toml").write_text('store = "a"\n')
    assert [value for value, _ in stores()] == [str(folder / "a")]
    (folder / "vtr.toml").write_text(
        'store = "a"\n[search]\nstore = ["a", "b"]\n[extract]\nexclude = ["raw"]\n'
    )
    assert (f"{folder / 'a'}, {folder / 'b'}", "search") in stores() and len(stores()) == 2
    assert effective("exclude") == ("raw", "vtr.toml")
    result = run("search", "a dog")
    assert result.exit_code == 4 and f"no feature store at {folder / 'a'}" in result.stderr


@pytest.mark.parametrize(("value", "shown"), [("5", "5"), ("true", "true"), ("[5]", "5")])
def test_a_path_stands_between_quotation_marks(
    value: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vtr.toml").write_text(f"store = {value}\n", encoding="utf-8")
    result = run("store", "info")
    assert (result.exit_code, result.stderr) == (
        2,
        f"vtr: {tmp_path / 'vtr.toml'} sets 'store' to {shown}; a path between quotation marks; "
        'write store = "…"\n',
    )


def test_a_command_with_one_store_does_not_take_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vtr.toml").write_text('store = ["a", "b"]\n', encoding="utf-8")
    result = run("store", "info")
    assert result.exit_code == 2
    assert "; one path; mend it there; --store wins over it" in result.stderr


def test_the_ending_of_a_file_is_not_the_value_of_a_setting(folder: Path) -> None:
    (folder / "vtr.toml").write_text('dataset = "csv"\nannotations = "."\n')
    (folder / "moments.csv").write_text("video_id,caption\nv1,a dog\n")
    said = run("eval", "--moments", "p.jsonl", "--truth", str(folder / "moments.csv")).stderr
    assert "moments.csv: " in said and "(from" not in said
