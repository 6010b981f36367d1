"""Each command that takes a file of words reads it through the one reader: in any encoding it means the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.runner import run, run_json

# How Notepad, PowerShell, Excel and an old Mac save; what no program can tell apart is refused in the same words.
SAVED: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda text: text.encode(),
    "bom": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16 crlf": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "cr": lambda text: text.replace("\n", "\r").encode(),
}
FOREIGN = "a dog in a café\n".encode("cp1252")


@pytest.fixture(autouse=True)
def in_demo(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    (demo / "vtr.toml").write_text('store = "store"\nbackbone = "demo"\n', encoding="utf-8")


def stem_list(demo: Path) -> str:
    return "".join(f"{path}\n" for path in sorted((demo / "videos").iterdir())[:3])


@pytest.mark.parametrize("save", SAVED.values(), ids=SAVED)
def test_a_list_of_paths(demo: Path, save: Callable[[str], bytes]) -> None:
    result = run("extract", "-", "--json", stdin=save(stem_list(demo)))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_skipped"] == 3


def test_a_list_in_utf16_without_a_mark_never_becomes_the_root_folder(demo: Path) -> None:
    result = run("extract", "-", stdin=stem_list(demo).encode("utf-16-le"))
    assert result.exit_code == 3
    assert result.stderr == (
        "vtr: the list on stdin: line 1 holds zero bytes: it may be UTF-16 without a byte order mark; "
        "text is UTF-8, or UTF-16 with its byte order mark; save it as UTF-8, for example with "
        "`iconv -f UTF-16LE -t UTF-8`\n"
    )


@pytest.mark.parametrize("from_stdin", [True, False])
@pytest.mark.parametrize("save", SAVED.values(), ids=SAVED)
def test_queries(tmp_path: Path, save: Callable[[str], bytes], from_stdin: bool) -> None:
    content = save("a red circle\n\na blue box\n")
    path = tmp_path / "queries.txt"
    path.write_bytes(content)
    result = run("search", "--run", "none", "--queries", "-" if from_stdin else str(path), stdin=content)
    assert [json.loads(line)["query"] for line in result.stdout.splitlines()] == [
        "a red circle",
        "a blue box",
    ]


@pytest.mark.parametrize("save", SAVED.values(), ids=SAVED)
def test_captions_and_what_belongs_to_them(demo: Path, tmp_path: Path, save: Callable[[str], bytes]) -> None:
    table = tmp_path / "captions.csv"
    table.write_bytes(save((demo / "captions.csv").read_text()))
    body = run_json("datasets", "check", "csv", "--annotations", str(table))
    assert body["splits"] == run_json("datasets", "check", "csv", "--annotations", str(demo))["splits"]
    rows = tmp_path / "captions.jsonl"
    rows.write_bytes(save('{"video_id": "a", "caption": "a dog"}\n{"video_id": "b", "caption": "a cat"}\n'))
    splits = run_json("datasets", "check", "jsonl", "--annotations", str(rows))["splits"]
    assert [row["num_captions"] for row in splits] == [2, 2]


@pytest.mark.parametrize("save", SAVED.values(), ids=SAVED)
@pytest.mark.parametrize(
    ("name", "text"), [("t.txt", "0\n1\n1\n"), ("t.csv", "text,video\n0,0\n1,1\n2,1\n"), ("t.json", "[0,\n1,\n1]\n")]
)  # fmt: skip
def test_which_video_belongs_to_a_text(
    tmp_path: Path, save: Callable[[str], bytes], name: str, text: str
) -> None:
    np.save(tmp_path / "m.npy", np.eye(3, 2, dtype=np.float32))
    (tmp_path / name).write_bytes(save(text))
    body = run_json(
        "eval", "--similarities", str(tmp_path / "m.npy"), "--text-to-video", str(tmp_path / name)
    )
    assert (body["num_texts"], body["num_videos"]) == (3, 2)


@pytest.mark.parametrize("save", SAVED.values(), ids=SAVED)
def test_settings(demo: Path, save: Callable[[str], bytes]) -> None:
    (demo / "vtr.toml").write_bytes(save('store = "store"\nbackbone = "demo"\n'))
    assert run_json("store", "info")["num_videos"] == 24


@pytest.mark.parametrize("save", [SAVED["utf-16"], SAVED["cr"]], ids=["utf-16", "cr"])
def test_captions_of_a_bank(demo: Path, tmp_path: Path, save: Callable[[str], bytes]) -> None:
    path = tmp_path / "captions.txt"
    path.write_bytes(save("".join(f"a clip of thing {number}\n" for number in range(25))))
    try:
        assert run_json("bank", "build", "--texts", str(path), "--device", "cpu")["num_captions"] == 25
    finally:
        (demo / "store" / "bank.safetensors").unlink(missing_ok=True)


def test_a_foreign_encoding_is_named_alike_everywhere(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_bytes(b"video_id,caption\na," + FOREIGN)
    (tmp_path / "words.txt").write_bytes(FOREIGN)
    for arguments in (
        ("datasets", "check", "csv", "--annotations", str(tmp_path)),
        ("search", "--run", "none", "--queries", str(tmp_path / "words.txt")),
        ("bank", "build", "--texts", str(tmp_path / "words.txt")),
        ("extract", "-"),
    ):
        result = run(*arguments, stdin=FOREIGN)
        assert result.exit_code == 3, arguments
        assert "is not UTF-8: it may be CP1252 (" in result.stderr, arguments
        assert "`iconv -f CP1252 -t UTF-8`" in result.stderr, arguments
