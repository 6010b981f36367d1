"""Every command that is printed in README, CONTRIBUTING and docs/ works as it is printed.

A folder is set up like the one that the pages speak of: the demo made by `vtr demo`, a home folder with Videos, a small
MSR-VTT. The commands of each page are run there in their order, word for word, by a shell.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.datasets.layouts import official, write_json
from tests.moments.made import predicted_row, truth_row, write_lines
from tests.ranking.runs import write_beir
from vtrcli.cli.app import app
from vtrcli.cli.reference import commands as command_list
from vtrcli.model.clip.family import DEMO_WEIGHTS

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent.parent
DOCS = sorted(f"docs/{page.name}" for page in (PROJECT / "docs").glob("*.md"))
PAGES = ("README.md", "CONTRIBUTING.md", "examples/README.md", *DOCS)
PROGRAMS = ("vtr", "VTR_STORE=films.store", "torchrun", "python", "make", "pip", "pipx", "uv", "git", "jq")
# A page that speaks of any store or run calls it so.
PLACEHOLDERS = {
    "S": "msrvtt.store",
    "RUN": "runs/demo",
    "D": "csv",
    "A": ".",
    "M": "matrix.npy",
    "URI": "vectors.db",
    "NAME": "demo",
}
NEEDS_NETWORK = "needs the package index, or weights that are downloaded"
NOT_RUN = {
    r"vtr (search|compare|milvus push|store (prune|export|import))( --\S+)?": "a name",
    r"vtr eval --(save-ranks|bank|temperature|moments|trec)|vtr extract --part": "a name",
    r"vtr search --milvus \S+": "a name",
    r"vtr milvus push .* http://host.*": "needs a Milvus server; a local file is tried below",
    r"vtr serve.*": "answers until Ctrl-C; tests/serve ask it",
    r"vtr mcp.*": "a program starts it and talks to it; tests/serve/test_mcp.py does",
    r"make .*|git clone .*": "what .ci/run does, with this test among it",
    r"pip install .*|pipx .*|uv .*": NEEDS_NETWORK,
    r"vtr models (pull|check) ViT.*": NEEDS_NETWORK,
    r"vtr models bench.*": "takes minutes, and pictures of open_clip's models need a torchvision that fits torch",
    r"vtr demo( --out demo)?": "made this folder",
    r"vtr (extract|store relocate OLD) NEW|vtr extract (FOLDER( --prune)?|VIDEOS .*)": "a form: capitals are folders",
    r".*(…|\.\.\.).*": "a form: dots stand for what is left to say",
    r"python benchmarks/.*": "takes many minutes; its figures stand in docs/experiments.md",
}
# These commands end so because of what the small folder is, and say it.
OTHER_EXITS = {
    r"vtr store relocate /media/old .*": 3,  # nothing here came from there
    r"vtr datasets check msrvtt-1ka .*": 3,  # not the counts of the published split
    r"vtr datasets check msvd .*": 3,  # there is none here
}
# What must be so before an example that stands for itself.
BEFORE = {
    r"vtr train --finetune --recipe demo .*": "vtr extract ~/Videos --keep-frames --quiet && ",  # added without
    r"vtr init.*": "cd $(mktemp -d) && ",
    r"vtr cache --backbone NAME --out STORE": "vtr extract ~/Videos --keep-frames --store K -q && VTR_STORE=K ",
    r"vtr train --dataset msrvtt-1ka .*": "rm -rf runs/first && VTR_STORE=msrvtt.store ",
}


def fences(text: str) -> Iterator[str]:
    """Lines of code: in fences, and indented by four after a blank line."""
    for body in re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, flags=re.S | re.M):
        yield from body.splitlines()
    for body in re.findall(r"(?:\A|\n\n)((?: {4}\S.*\n)+)", text):
        yield from (line[4:] for line in body.splitlines())


def in_sentences(text: str) -> Iterator[str]:
    """`vtr …` between backticks."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    yield from (" ".join(found.split()) for found in re.findall(r"`((?:VTR_\w+=\S+ )?vtr [^`]+)`", outside))


def as_command(line: str) -> str | None:
    """The command of a line, without prompt and comment; None for its output."""
    line = re.sub(r"\s+#.*$", "", line.removeprefix("$ ").removeprefix("cd demo && ")).strip()
    return line if line.split()[:1] and line.split()[0] in PROGRAMS else None


def commands_of(page: str) -> list[str]:
    text = (PROJECT / page).read_text(encoding="utf-8")
    found = [*filter(None, map(as_command, fences(text))), *in_sentences(text)]
    if page == "docs/commands.md":
        found = [command for command in found if not command.endswith("[OPTIONS]")]
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the demo in it, and around it what the pages name."""
    home = tmp_path_factory.mktemp("home")
    run(home, "vtr demo", exit_code=0, keep=home / "demo.txt")
    folder = home / "demo"
    clips = sorted((folder / "videos").iterdir())
    copies = {home / "Videos/kitchen/pasta.mp4": clips[0], home / "Videos/camping.mov": clips[1]}
    copies |= {folder / f"MSRVTT/videos/video{number}.mp4": clips[10 + number] for number in range(60)}
    for copy, clip in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, copy)
    write_msrvtt(folder / "MSRVTT", num_train=40, num_test=20)
    for other in (folder / "msrvtt", home / "msrvtt"):
        other.symlink_to(folder / "MSRVTT")
    run(home, next(line for line in commands_of("README.md") if "extract MSRVTT" in line), exit_code=0)
    ffmpeg = (imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-stream_loop", "40", "-i", str(clips[2]))
    subprocess.run([*ffmpeg, "-t", "80", str(home / "Videos/holiday.mp4")], check=True)
    subprocess.run([*ffmpeg, "-frames:v", "1", str(folder / "photo.jpg")], check=True)
    scores = np.random.default_rng(0).normal(size=(60, 60)).astype(np.float32) + 2 * np.eye(
        60, dtype=np.float32
    )
    for name in ("matrix", "t", "v"):
        np.save(folder / f"{name}.npy", scores)
    write_features(folder)
    torch.save(load_file(DEMO_WEIGHTS), folder / "finetuned.pt")
    shutil.copytree(folder / "store", folder / "films.store")
    for name in ("a", "b"):
        run(home, f"vtr eval --save-ranks {name}.json", exit_code=0)
    write_moments(folder)
    write_marks(folder)
    write_runs(home, folder)
    lines = "".join(f"a clip of thing {number}\n" for number in range(30))
    for name in ("captions.txt", "questions.txt"):
        (folder / name).write_text(lines)
    return home


def write_marks(folder: Path) -> None:
    """What somebody marked in `vtr serve`, of the demo's own captions."""
    from vtrcli.serve.marks import change_marks

    with open(folder / "captions.csv", newline="") as file:
        rows = list({row["video_id"]: row for row in csv.DictReader(file)}.values())
    for row in rows[:24]:
        change_marks(
            folder / "films.store",
            query=row["caption"],
            video_id=row["video_id"],
            duration_seconds=None,
            changes=[((0.0, 1.0), "right")],
        )


def write_runs(home: Path, folder: Path) -> None:
    """The matrix as runs with their qrels, as a BEIR folder; the demo's test clips as another; ranks of two seeds."""
    for form, qrels in (("trec", "txt"), ("json", "json")):
        command = f"vtr eval --similarities matrix.npy --save-run run.{form} --save-qrels qrels.{qrels}"
        run(home, command, exit_code=0)
    write_beir(folder / "beir", {f"q{number}": {f"v{number}": 1} for number in range(60)})
    with open(folder / "captions.csv", newline="") as file:
        clips = [row["video_id"] for row in csv.DictReader(file) if row["split"] == "test"]
    write_beir(folder / "clips", {f"text of {name}": {name: 1} for name in clips})
    for seed in (1, 2):
        shutil.copy(folder / "b.json", folder / f"c-{seed}.json")


def write_features(folder: Path) -> None:
    """Features that others made, of 512 numbers: a file per video, a matrix, and those of captions."""
    rng = np.random.default_rng(0)
    (folder / "features").mkdir()
    for number in range(12):
        np.savez(folder / f"features/v{number}.npz", features=rng.normal(size=(4, 512)).astype(np.float32))
    for name in ("matrix512", "captions512"):
        np.save(folder / f"{name}.npy", rng.normal(size=(12, 512)).astype(np.float32))
    (folder / "rows.csv").write_text("\n".join(["video_id,seconds", *(f"v{n},0" for n in range(12))]))
    (folder / "captions512.csv").write_text(
        "\n".join(["video_id,caption", *(f"v{n},thing {n}" for n in range(12))])
    )


def write_moments(folder: Path) -> None:
    """truth.jsonl and pred.jsonl about ten clips of this home's MSR-VTT, and the truth once more as QVHighlights'."""
    (folder / "QVH").mkdir()
    truth = [
        truth_row(number, vid=f"video{number}", duration=3, relevant_windows=[[0.5, 2]])
        for number in range(10)
    ]
    for path in (folder / "truth.jsonl", folder / "QVH" / "highlight_val_release.jsonl"):
        write_lines(path, truth)
    rows = [predicted_row(row["qid"], vid=row["vid"], pred_relevant_windows=[[0, 2, 0.9]]) for row in truth]
    write_lines(folder / "pred.jsonl", rows)


def write_msrvtt(folder: Path, *, num_train: int, num_test: int) -> None:
    """The files of the 1k-A protocol, with so many videos."""
    ids = [f"video{number}" for number in range(num_train + num_test)]
    split_of = dict.fromkeys(ids[:num_train], "train") | dict.fromkeys(ids[num_train:], "test")
    write_json(folder / "MSRVTT_data.json", official(split_of))
    (folder / "MSRVTT_train.9k.csv").write_text("\n".join(["video_id", *ids[:num_train]]))
    rows = [
        f"ret{number},msr{number},{name},a thing of {name}" for number, name in enumerate(ids[num_train:])
    ]
    (folder / "MSRVTT_JSFUSION_test.csv").write_text("\n".join(["key,vid_key,video_id,sentence", *rows]))


def run(home: Path, command: str, *, exit_code: int, keep: Path | None = None) -> str:
    """Run a line in bash, with the home folder as home and a player that only says what it plays."""
    folder = home / "demo" if (home / "demo").exists() else home
    tools = home / "bin"
    if not tools.exists():
        tools.mkdir()
        for name in ("vtr", "python", "torchrun"):
            (tools / name).symlink_to(Path(sys.executable).with_name(name))
        (tools / "mpv").write_text('#!/bin/sh\necho "$@"\n')
        (tools / "mpv").chmod(0o755)
    environment = {
        "HOME": str(home),
        "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "VTR_BACKBONE": "demo",
    }
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=30 if "--watch" in command else 900)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)  # SIGINT is ignored below a shell's background job
            output, _ = process.communicate(timeout=60)
    if keep is not None:
        keep.write_text(output)
    assert process.returncode == exit_code, f"{command}\n{output}"
    assert "Traceback" not in output, f"{command}\n{output}"
    return output


def test_vtr_demo_prints_what_the_readme_shows(home: Path) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"^```\n\$ vtr demo\n(.*?)\n\n\$", readme, flags=re.S | re.M)
    assert example is not None
    printed = (home / "demo.txt").read_text()
    wanted = [line.rstrip() for line in example[1].splitlines()]
    found = [line.rstrip() for line in printed.splitlines()]
    start = next(number for number, line in enumerate(found) if " clips drawn in " in line)
    for expected, actual in zip(wanted, found[start:], strict=False):
        assert shape(actual) == shape(expected)
        if expected.startswith(("chance", "The ")):
            assert actual.split() == expected.split()  # a column is as wide as its widest figure
        elif expected.startswith(("CLIP", "CAMoE")):
            differences = [abs(a - b) for a, b in zip(numbers(actual), numbers(expected), strict=True)]
            assert max(differences) <= MAX_DIFFERENCE, (expected, actual)


# Other processors and numbers of threads round otherwise, and 133 clips make a model of it.
MAX_DIFFERENCE = 8


def shape(line: str) -> str:
    """A line with its numbers and spaces alike."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,:+-]*\d", "0", line))


def numbers(line: str) -> list[float]:
    return [float(text) for text in re.findall(r"\d+\.?\d*", line.partition("  ")[2])]


def test_the_search_and_the_table_of_the_readme_have_its_columns(home: Path) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    form = r"^\$ cd demo && (vtr search .*)\n((?:.*\n)+?)\$ (vtr eval --dsl)\n((?:.*\n)+?)```"
    example = re.search(form, readme, flags=re.M)
    assert example is not None
    hits = run(home, example[1], exit_code=0).splitlines()
    wanted = example[2].splitlines()
    assert [line.split()[0] for line in hits if line[:1].isdigit()] == [line.split()[0] for line in wanted]
    assert wanted[0].split()[3] in next(line for line in hits if line.startswith("1 "))
    table = [line.split() for line in run(home, example[3], exit_code=0).splitlines()]
    header, *rows = (line.split() for line in example[4].splitlines())
    assert header in table
    for row in rows:
        assert any(row[:2] == other[:2] for other in table), row


def test_the_demo_ends_with_commands_that_work_as_printed(home: Path) -> None:
    printed = (home / "demo.txt").read_text()
    lines = printed.partition("Now try:\n")[2].splitlines()
    commands = [line.strip() for line in lines if line.strip() and not line.endswith(" serve")]
    assert len(commands) >= 3
    run(home, "cd .. && " + " && ".join(commands), exit_code=0)


# A command that several pages print is run for the first of them.
PAGE_OF = {command: page for page in reversed(PAGES) for command in commands_of(page)}
IN_ORDER = [(page, command) for page in PAGES for command in commands_of(page) if PAGE_OF[command] == page]


@pytest.mark.parametrize(("page", "command"), IN_ORDER)
def test_a_command_of_a_page(home: Path, page: str, command: str) -> None:
    for pattern, reason in NOT_RUN.items():
        if re.fullmatch(pattern, command):
            pytest.skip(f"{command}: {reason}")
    if "| jq" in command and shutil.which("jq") is None:
        pytest.skip(f"{command}: jq is not on this machine")
    words = r"(?<![\w./-])(" + "|".join(PLACEHOLDERS) + r")(?![\w./])"
    meant = PLACEHOLDERS | ({"S": "store"} if page == "docs/evaluation.md" else {})
    known = re.sub(words, lambda found: meant[found[1]], command)
    known = known.replace(
        "--epochs 5", "--epochs 1"
    )  # fine-tuning: half a minute each, and the same files after one
    known = next((first for form, first in BEFORE.items() if re.fullmatch(form, command)), "") + known
    run(
        home,
        known,
        exit_code=next((code for form, code in OTHER_EXITS.items() if re.fullmatch(form, command)), 0),
    )


def test_every_command_has_an_example_that_is_run() -> None:
    import typer

    examples = " ".join(commands_of("docs/commands.md"))
    for path, _ in command_list(typer.main.get_command(app)):
        assert " ".join(("vtr", *path)) in examples, path
