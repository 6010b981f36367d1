"""`vtr search` by a running server: the same output as alone, and alone wherever a server might say something else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.runner import run
from tests.store.stores import make_record, make_store
from vtrcli.model.runs import newest_fitting_run
from vtrcli.searching.query import Query, SearchSettings
from vtrcli.serve import client
from vtrcli.serve.client import Welcome, greet, made, packed, socket_path
from vtrcli.serve.door import Door, open_door
from vtrcli.serve.library import Library
from vtrcli.store.config import read_config
from vtrcli.store.reader import FeatureStore
from vtrcli.store.writer import StoreWriter

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")

QUESTIONS: dict[str, list[str]] = {
    "a sentence": ["a red circle"],
    "json": ["a red circle", "--json"],
    "paths": ["a red circle", "--paths", "-k", "3"],
    "null": ["a red circle", "-0"],
    "moments": ["a red circle", "--moments", "--per-video", "2", "-k", "5"],
    "plus and not": ["a red circle", "--plus", "a star", "--not", "blue", "--weights", "1,2,0.3", "--json"],
    "then": ["a red circle", "--then", "it moves", "--within", "3", "--json"],
    "filters": ["a red circle", "--path", "*.mp4", "--min-duration", "1", "--after", "2019", "--json"],
    "nothing passes": ["a red circle", "--min-duration", "3:00:00"],
    "plain CLIP": ["a red circle", "--run", "none", "--json"],
    "a run by name": ["a red circle", "--run", "runs/demo", "--json"],
    "quiet": ["a red circle", "-q"],
    "missing": ["a red circle", "--missing", "--json"],
    "another score": ["a red circle", "--score", "mean", "--json"],
    "another device": ["a red circle", "--device", "cpu", "--json"],
    "a method without a bank": ["a red circle", "--dsl"],
    "no such picture": ["--image", "none.png"],
    "no such video": ["--like", "none.mp4"],
    "not a word": ["é" * 30, "--json"],
    "too long": ["a red circle " * 60, "--json"],
    "why": ["a red circle", "--explain"],
    "beside a store": ["a red circle", "--no-server", "--json"],
}
ALONE = {"another score", "another device", "a method without a bank", "no such picture", "no such video"}
ALONE |= {"beside a store", "plain CLIP", "why"}


@contextmanager
def serving(folder: Path, *, run: str | None = "demo") -> Iterator[Door]:
    """A server of folder/store, in this process."""
    chosen = None if run is None else folder / "runs" / run
    with open_door(Library([folder / "store"], choose_run=lambda store: chosen)) as door:
        yield door


@pytest.fixture(scope="module")
def shop(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a run of its own; the videos stay where they are."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("store", "runs"):
        shutil.copytree(demo / name, folder / name, ignore=shutil.ignore_patterns("index"))
    return folder


@pytest.fixture
def here(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shop)
    return shop


def asked(*arguments: str, alone: bool = False) -> tuple[int, str, str]:
    done = run("search", *arguments, "--store", "store", *(["--no-server"] if alone else []))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


FAST = ("json", "then", "another score", "no such video", "too long")


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in QUESTIONS]
)
def test_the_output_is_that_of_a_search_alone(here: Path, name: str) -> None:
    with serving(here) as door:
        together = asked(*QUESTIONS[name])
        assert door.num_answers == (0 if name in ALONE else 1)
        arguments = [word for word in QUESTIONS[name] if word != "--no-server"]
        assert together == asked(*arguments, alone=True)
        assert door.num_answers == (0 if name in ALONE else 1)


@pytest.mark.slow
def test_pages_timelines_and_pictures_are_the_same_files(here: Path, demo: Path, tmp_path: Path) -> None:
    video = sorted((demo / "videos").iterdir())[0]
    made_files = []
    for alone in (False, True):
        with serving(here) as door:
            files = [tmp_path / f"found{ending}" for ending in (".html", ".edl", ".csv")]
            options = ["--gallery", str(files[0]), "--edl", str(files[1]), "--csv", str(files[2])]
            asked("--like", f"{video}@1", "a star", *options, "-k", "3", alone=alone)
            assert door.num_answers == (not alone)
            made_files.append([file.read_bytes() for file in files])
    assert made_files[0] == made_files[1]


def test_many_queries_go_over_one_connection_and_one_that_is_none_costs_itself(here: Path) -> None:
    (here / "queries.txt").write_text("a red circle\n" + "x" * 11_000 + "\na blue star\n")
    with serving(here) as door:
        together = asked("--queries", "queries.txt")
        assert door.num_answers == 2
        assert together == asked("--queries", "queries.txt", alone=True)
    lines = [json.loads(line) for line in together[1].splitlines()]
    assert ["error" in line for line in lines] == [False, True, False]


def test_verbose_says_that_a_server_answered(here: Path) -> None:
    with serving(here):
        assert "answered by the server that runs for the store\n" in asked("a red circle", "--verbose")[2]


@pytest.mark.slow
def test_a_server_without_a_run_answers_for_plain_clip(here: Path) -> None:
    with serving(here, run=None) as door:
        assert asked("a red circle", "--run", "none", "--json")[0] == 0
        assert asked("a red circle", "--score", "max", "--json") == asked(
            "a red circle", "--score", "max", "--json", alone=True
        )
        assert door.num_answers == 2
        assert asked("a red circle") == asked("a red circle", alone=True)  # the run beside it ranks
        assert door.num_answers == 2


@pytest.mark.slow
def test_several_stores_are_asked_as_one(here: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "store", tmp_path / "copy")
    words = ["search", "a red circle", "--store", "store", "--store", str(tmp_path / "copy"), "--json"]
    library = Library([here / "store", tmp_path / "copy"], choose_run=lambda store: here / "runs" / "demo")
    with open_door(library) as door:
        assert run(*words).stdout == run(*words, "--no-server").stdout
        assert door.num_answers == 1
    with serving(here) as door:
        assert run(*words).exit_code == 0
        assert door.num_answers == 0


# What is wrong with a server: each makes a client work alone.


def answered(here: Path) -> bool:
    """Whether a search is answered by a server; by whomever, it is answered rightly."""
    server = greet([here / "store"], run=None, runs=here / "runs", device="auto", silence=0.3)
    if server is None:
        return False
    try:
        return server.search(Query(text="a red circle"), SearchSettings()) is not None
    finally:
        server.close()


@contextmanager
def listening(path: Path, behave: Callable[[socket.socket], object]) -> Iterator[None]:
    """Something else at the socket, which does one thing with each client."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        path.chmod(0o600)
        bound.listen()
        bound.settimeout(5)

        def meet() -> None:
            try:
                connection, _ = bound.accept()
            except OSError:
                return
            with connection:
                behave(connection)

        thread = threading.Thread(target=meet, daemon=True)
        thread.start()
        yield
        thread.join(6)
    path.unlink(missing_ok=True)


def welcome(here: Path, **changes: Any) -> bytes:
    true = {
        "version": client.__version__,
        "states": [client.store_state(here / "store")],
        "run": str(here / "runs" / "demo"),
        "note": None,
    }
    return packed({**true, **changes})


def met(*words: bytes, then: Callable[[socket.socket], object] = bool) -> Callable[[socket.socket], None]:
    """One that answers each line with the next of these words."""

    def behave(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection.makefile("rb") as file:  # who disbelieves hangs up
            for word in words:
                file.readline()
                connection.sendall(word)
            then(connection)

    return behave


def _silent(connection: socket.socket) -> None:
    connection.settimeout(5)
    while connection.recv(4096):
        pass


@pytest.mark.parametrize(
    ("words", "then"),
    [
        (["nothing"], bool),
        (["nothing"], _silent),
        ([], _silent),
        (["version", "a result"], bool),
        (["state", "a result"], bool),
        (["welcome", "half"], bool),
        (["welcome", "no json"], bool),
        (["welcome", "another shape"], bool),
        (["welcome", "a hit without moments"], bool),
    ],
)
def test_one_that_is_no_server_or_a_broken_one_is_left_alone(
    here: Path, words: list[str], then: Callable[[socket.socket], object]
) -> None:
    hit = {"rank": 1, "video_id": "a", "path": "", "score": 1.0, "moments": [], "is_missing": False}
    hit |= {"relevance": None, "probability": None, "corrected_score": None, "is_replaced": False}
    hit |= {"twins": [], "store": "s", "chain": []}
    result = {"query": "q", "num_videos": 1, "hits": [hit], "notes": [], "stores": ["s"], "run": None}
    body = packed({**result, "unread_scripts": []})
    said = {
        "nothing": b"",
        "version": welcome(here, version="0.0.1"),
        "state": welcome(here, states=["0" * 32]),
        "welcome": welcome(here),
        "half": body[: len(body) // 2],
        "no json": b"{]\n",
        "another shape": b'{"hits": 3}\n',
        "a hit without moments": body,
        "a result": packed({**result, "hits": [], "unread_scripts": []}),
    }
    with listening(socket_path(here / "store"), met(*(said[word] for word in words), then=then)):
        assert not answered(here)


def test_the_liar_of_these_tests_is_believed_where_it_tells_the_truth(here: Path) -> None:
    moment = {"start_seconds": 0.0, "peak_seconds": 0.1, "end_seconds": 0.1 + 0.2, "score": 1 / 3}
    hit = {"rank": 1, "video_id": "a", "path": "", "score": 1 / 3, "moments": [moment], "is_missing": False}
    hit |= {"relevance": None, "probability": None, "corrected_score": None, "is_replaced": False}
    hit |= {"twins": [], "store": "s", "chain": []}
    body = packed(
        {"query": "q", "num_videos": 1, "hits": [hit], "notes": [], "stores": ["s"], "run": None}
        | {"unread_scripts": []}
    )
    with listening(socket_path(here / "store"), met(welcome(here), b"\n\n" + body)):
        assert answered(here)


def test_what_a_killed_server_left_is_passed_over_and_replaced(here: Path) -> None:
    path = socket_path(here / "store")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    assert stat.S_ISSOCK(path.lstat().st_mode)
    assert not answered(here)
    with serving(here):
        assert answered(here)
    assert not path.exists()


def test_the_second_server_of_a_store_leaves_the_first_its_place(here: Path) -> None:
    with serving(here) as first:
        with serving(here) as second:
            assert second.paths == []
            assert answered(here)
        assert answered(here)
        assert first.num_answers == 2


@pytest.mark.parametrize("mode", [0o755, 0o701])
def test_a_folder_that_others_may_enter_is_not_trusted(here: Path, mode: int) -> None:
    folder = socket_path(here / "store").parent
    with serving(here):
        folder.chmod(mode)
        try:
            assert not answered(here)
        finally:
            folder.chmod(0o700)
        assert answered(here)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_a_socket_of_another_user_is_not_trusted(here: Path) -> None:
    path = socket_path(here / "store")
    with serving(here):
        os.chown(path, 12345, -1)
        assert not answered(here)


def test_a_store_that_another_took_the_place_of_is_not_answered_for(here: Path, tmp_path: Path) -> None:
    """Caught by the state alone: path, version and run are what they were."""
    with serving(here):
        assert answered(here)
        (here / "store").rename(tmp_path / "aside")
        try:
            shutil.copytree(tmp_path / "aside", here / "store")
            assert not answered(here)
        finally:
            shutil.rmtree(here / "store")
            (tmp_path / "aside").rename(here / "store")
        assert answered(here)


def test_a_run_that_was_trained_on_is_another_one(here: Path) -> None:
    config = here / "runs" / "demo" / "config.json"
    before = config.read_bytes()
    with serving(here):
        config.write_bytes(before + b"\n")
        assert not answered(here)
        config.write_bytes(before)
        assert answered(here)


def test_a_store_that_is_not_served_and_one_that_is_none_have_no_server(here: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", {"a": np.eye(4)})
    with serving(here):
        assert greet([other], run=None, runs=tmp_path, device="auto") is None
        assert greet([tmp_path / "nothing"], run=None, runs=tmp_path, device="auto") is None


def test_dates_are_told_by_one_clock(here: Path) -> None:
    with serving(here) as door:
        assert answered(here)
        told = client.Greeting(
            version=client.__version__,
            stores=(str(here / "store"),),
            states=(client.store_state(here / "store"),),
            run=None,
            runs=str(here / "runs"),
            device="auto",
            folder=os.getcwd(),
            zone="Asia/Tokyo",
        )
        with pytest.raises(ValueError, match="dates are told otherwise"):
            door._welcome(told)


def test_values_come_back_as_they_went(here: Path) -> None:
    query = Query(text="a\udc80", plus=("b",), images=(Path("x"),), weights=(1, 2.5, 1e-3), then=("c",))
    settings = SearchSettings(method="dsl", min_relevance=0.1 + 0.2)
    for value in (query, settings, Welcome(version="1", states=("a",), run=None, note="é")):
        assert made(type(value), json.loads(packed(value))) == value
    for kind, wrong in ((Query, {"text": "a"}), (int, True), (str, None), (SearchSettings, [])):
        with pytest.raises((TypeError, KeyError)):
            made(kind, wrong)


@pytest.mark.slow
def test_the_newest_run_is_chosen_as_alone(here: Path) -> None:
    """A newer run that does not fit is told of, as alone."""
    broken = here / "runs" / "newer"
    shutil.copytree(here / "runs" / "demo", broken)
    (broken / "config.json").write_text("{}")
    try:
        backbone = read_config(here / "store").backbone
        assert newest_fitting_run(here / "runs", here / "store", backbone)[1] is not None
        with serving(here) as door:
            together = asked("a red circle")
            assert door.num_answers == 1
            assert together == asked("a red circle", alone=True)
            assert "ranks" in together[2].splitlines()[0]
    finally:
        shutil.rmtree(broken)


def test_what_extract_added_is_seen(here: Path, tmp_path: Path) -> None:
    """By the server, or by the client alone where the server has not read it yet."""
    shutil.copytree(here / "store", tmp_path / "store")
    shutil.copytree(here / "runs", tmp_path / "runs")
    words = ["search", "a red circle", "--store", str(tmp_path / "store"), "-k", "99", "--json"]
    with serving(tmp_path):
        before = json.loads(run(*words).stdout)["num_videos"]
        store = FeatureStore(tmp_path / "store")
        writer = StoreWriter(store.path, backbone_sha256=store.config.backbone.sha256)
        rows = store.features(next(iter(store.videos)))
        writer.add(make_record("added", duration_seconds=99.0), rows, np.arange(len(rows)) + 0.5)
        writer.flush()
        after = run(*words)
        assert after.exit_code == 0, after.stderr
        assert json.loads(after.stdout)["num_videos"] == before + 1
        assert after.stdout == run(*words, "--no-server").stdout


@pytest.mark.slow
def test_a_server_that_is_stopped_or_killed_costs_a_second_and_no_answer(here: Path) -> None:
    """A process of its own: asked, stopped, going on, killed."""
    words = ["search", "a red circle", "--store", "store", "--json"]
    alone = run(*words, "--no-server").stdout
    command = [sys.executable, "-m", "vtrcli", "serve", "--store", "store", "--port", "0", "--device", "auto"]
    server = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, env=dict(os.environ))
    try:
        assert server.stderr is not None
        assert any(line.startswith(b"ready") for line in iter(server.stderr.readline, b""))
        assert answered(here)
        server.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        assert not answered(here)
        assert time.monotonic() - started < 5
        assert run(*words).stdout == alone
        server.send_signal(signal.SIGCONT)
        assert wait_until(lambda: answered(here))
        server.kill()
        server.wait()
        assert socket_path(here / "store").exists()
        assert not answered(here)
        assert run(*words).stdout == alone
    finally:
        server.kill()
        server.communicate()


def wait_until(is_so: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not (done := is_so()) and time.monotonic() < end:
        time.sleep(0.2)
    return done
