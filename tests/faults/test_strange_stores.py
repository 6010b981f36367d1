"""Stores that somebody else made or something damaged: no hang, no traceback, and nothing outside is touched."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from tests.cli.runner import run
from tests.video_files import make_video
from vtrcli.store.reader import FeatureStore
from vtrcli.store.verify import verify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="needs links and alarms of POSIX"),
]

PATIENCE_SECONDS = 60
CPU = ["--device", "cpu"]


@contextmanager
def patience(what: str) -> Iterator[None]:
    """Ends what hangs."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, a store with kept frames, captions, a bank and what a search derives, a run; beside them more videos."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("videos", "more"):
        (folder / name).mkdir()
    for number in range(4):
        make_video(folder / "videos" / f"{number}.mp4", hue=60 * number, seconds=0.5)
    make_video(folder / "more" / "5.mp4", hue=200, seconds=0.5)
    (folder / "more" / "broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 60)
    words = "red green blue round square small".split()
    (folder / "texts.txt").write_text("\n".join(f"a {one} and {two} thing" for one in words for two in words))
    rows = [f"{n},a {word} thing,{'train' if n < 2 else 'val'}" for n in range(4) for word in words]
    (folder / "captions.csv").write_text("\n".join(["video_id,caption,split", *rows]) + "\n")
    store = ["--store", str(folder / "store")]
    csv = ["--dataset", "csv", "--annotations", str(folder)]
    for command in (
        [
            "extract",
            str(folder / "videos"),
            *store,
            "--backbone",
            "demo",
            "--frames",
            "3",
            "--keep-frames",
            *CPU,
        ],
        ["cache", *store, *csv, *CPU],
        ["bank", "build", *store, "--texts", str(folder / "texts.txt"), *CPU],
        ["train", *store, *csv, *CPU, "--epochs", "1", "--out", str(folder / "run")],
        ["search", "red", *store, *CPU, "--run", str(folder / "run"), "--dsl"],
        ["search", "red", *store, *CPU, "--run", "none"],
    ):
        result = run(*command, "--quiet")
        assert result.exit_code == 0, (command, result.output)
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "store", tmp_path / "store")
    return tmp_path / "store"


def search(store: Path, *options: str) -> list[str]:
    return ["search", "red", "--store", str(store), "--run", "none", *CPU, *options]


def extract(made: Path, store: Path) -> list[str]:
    return ["extract", str(made / "more"), "--store", str(store), "--keep-frames", *CPU]


# ---- links


def link_away(store: Path, name: str, away: Path) -> None:
    shutil.move(store / name, away)
    (store / name).symlink_to(away)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["shards", "frames"])
def test_what_is_linked_away_is_read_but_never_written_or_deleted(
    name: str, made: Path, own: Path, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    link_away(own, name, away)
    shard = next(away.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    before = snapshot(away)
    assert run(*search(own)).exit_code == 0
    for command in (
        extract(made, own),
        ["store", "verify", "--store", str(own), "--repair"],
        ["store", "compact", "--store", str(own), "--drop-frames"],
        ["store", "prune", "0", "--store", str(own)],
    ):
        result = run(*command)
        if (name, command[1]) != ("frames", "prune"):
            assert result.exit_code == 4, (command, result.output)
        if command[1] == "verify":
            told = f"vtr: {own / name} leads out of the store, to {away}; folders that lie in the store; "
            assert result.stderr.splitlines()[-1].startswith(told)
    assert snapshot(away) == before


def test_a_search_deletes_nothing_through_a_link(own: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "precious.safetensors").write_bytes(b"weights")
    for path in list((own / "index").iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
            path.symlink_to(models)
    before = snapshot(models)
    assert run(*search(own)).exit_code == 0
    assert run(*search(own, "--dsl")).exit_code == 0
    shutil.rmtree(own / "index")
    (own / "index").symlink_to(models)
    assert run(*search(own)).exit_code == 0
    assert snapshot(models) == before


def test_a_list_of_failures_that_is_a_link_is_not_followed(made: Path, own: Path, tmp_path: Path) -> None:
    target = tmp_path / "bashrc"
    target.write_text("alias x=y\n")
    (own / "failures.jsonl").symlink_to(target)
    result = run(*extract(made, own))
    assert result.exit_code == 4 and "failures.jsonl" in result.stderr
    assert target.read_text() == "alias x=y\n"


def test_a_shard_that_is_a_link_is_read_and_only_the_link_is_set_aside(own: Path, tmp_path: Path) -> None:
    target = tmp_path / "passwd"
    target.write_text("root:x:0:0\n" * 9)
    (own / "shards" / "09999999999999999999-1-a.safetensors").symlink_to(target)
    assert run(*search(own)).exit_code == 4
    assert run("store", "verify", "--store", str(own), "--repair").exit_code == 0
    assert target.read_text() == "root:x:0:0\n" * 9
    assert run(*search(own)).exit_code == 0


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("name", ["store.json", "failures.jsonl", "roots.jsonl", "shards/0-0-a.safetensors"])
def test_what_is_no_regular_file_keeps_nobody_waiting(kind: str, name: str, made: Path, own: Path) -> None:
    path = own / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    for command in (search(own), ["store", "info", "--store", str(own)], extract(made, own)):
        with patience(f"{command[0]} with a {kind} as {name}"):
            result = run(*command)
        assert result.exit_code in (0, 4, 5), result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception


# ---- damage


def mutated(body: bytes, rng: random.Random) -> bytes:
    """One of the ways in which files are damaged, or forged."""
    size = len(body)
    at = min(size - 1, rng.choice([rng.randrange(8), rng.randrange(min(size, 2000)), rng.randrange(size)]))
    how = rng.randrange(9)
    if how == 0:
        return body[:at]
    if how == 1:
        return body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]
    if how == 2:
        return body[:at] + rng.randbytes(min(64, size - at)) + body[at + 64 :]
    if how == 3:
        return body + rng.randbytes(rng.randrange(1, 200))
    if how == 4:
        return body[:at] + bytes(min(4096, size - at)) + body[at + 4096 :]
    if how == 5:
        return body[:at] + body[at + rng.randrange(1, 9) :]
    if how == 6:  # numbers of a header
        digits = [place for place in range(min(size, 3000)) if body[place : place + 1].isdigit()]
        if digits:
            place = rng.choice(digits)
            number = rng.choice(
                [b"9", b"-1", b"1e999", b"null", b"[]", b'"x"', b"99999999999999999999", b"NaN"]
            )
            return body[:place] + number[: 1 + rng.randrange(len(number))] + body[place + 1 :]
    if how == 7:  # a header of the right length with other JSON in it
        forged = rng.choice(
            [b"{}", b"[]", b"null", b'{"__metadata__":5}', b'{"a":{}}', b"[" * 5000, b'"\\ud800"']
        )
        return len(forged).to_bytes(8, "little") + forged + body[-100:]
    return b"" if rng.random() < 0.3 else body[size // 2 :] + body[: size // 2]


def sound_exit(result: object) -> bool:
    error = getattr(result, "exception", None)
    return error is None or isinstance(error, SystemExit)


def test_336_damaged_stores_hang_nothing_and_show_no_traceback(made: Path, tmp_path: Path) -> None:
    rng = random.Random(9)
    names = sorted(
        str(path.relative_to(made / "store")) for path in (made / "store").rglob("*") if path.is_file()
    )
    names += ["shards/" + path.name for path in (made / "store/shards").iterdir()] * 4 + ["store.json"] * 3
    counts: dict[int, int] = {}
    for number in range(336):
        store = tmp_path / "store"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(made / "store", store)
        name = rng.choice(names)
        path = store / name
        path.write_bytes(mutated(path.read_bytes(), rng))
        commands = [
            search(store),
            ["store", "verify", "--store", str(store), *(["--repair"] if number % 3 == 0 else [])],
        ]
        if number % 4 == 1:
            commands += [["store", what, "--store", str(store)] for what in ("info", "failures")]
        if number % 8 == 0:
            commands += [
                search(store, "--dsl"),
                extract(made, store),
                ["store", "compact", "--store", str(store)],
                ["store", "prune", "1", "--store", str(store)],
                search(store),
            ]
        for command in commands:
            what = f"{number}: {' '.join(command[:2])} with a damaged {name}"
            with patience(what):
                result = run(*command)
            assert sound_exit(result), f"{what}: {result.exception!r}"
            assert result.exit_code in (0, 3, 4, 5), f"{what}: {result.output}"
            assert "Traceback" not in result.output
            counts[result.exit_code] = counts.get(result.exit_code, 0) + 1
    assert counts[0] > 100 and counts[4] > 100
    print(f"336 damaged stores, commands by exit code: {counts}")


def test_damaged_runs_show_no_traceback(made: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    names = sorted(path.name for path in (made / "run").iterdir())
    for number in range(60):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made / "run", folder)
        path = folder / rng.choice(names)
        path.write_bytes(mutated(path.read_bytes(), rng))
        for command in (
            ["search", "red", "--store", str(made / "store"), "--run", str(folder), *CPU],
            ["train", "--out", str(folder), "--resume", "--store", str(made / "store"), "--dataset", "csv",
             "--annotations", str(made), *CPU],
        ):  # fmt: skip
            what = f"{number}: {command[0]} with a damaged {path.name}"
            with patience(what):
                result = run(*command)
            assert sound_exit(result), f"{what}: {result.exception!r}"
            assert result.exit_code in (0, 2, 3, 4), f"{what}: {result.output}"


def test_the_store_that_the_others_start_from_is_sound(made: Path) -> None:
    assert verify(made / "store").problems == ()
    assert len(FeatureStore(made / "store").videos) == 4
    assert json.loads((made / "store/store.json").read_text())["format"] == "vtr-store"
