"""Every command that writes, killed and refused at each call that changes a file.

After a kill nothing that was there is lost, the store is sound, and the same command again gives what an undisturbed
one gives. After a full disk (ENOSPC from there on) or a bad one (EIO once) the command ends with its exit code and one
line, or did without what it could not write; no file under a final name is half.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.forks import Forks, Kind, Outcome, changes_what_is_there, worth_a_fault
from tests.video_files import make_video
from vtrcli.files import TEMPORARY_PREFIX
from vtrcli.store.config import BANK_NAME
from vtrcli.store.failures import read_failures
from vtrcli.store.frames import FrameJpegs, frames_of
from vtrcli.store.reader import FeatureStore
from vtrcli.store.shard import TensorFile
from vtrcli.store.texts import open_texts, text_paths, texts_of
from vtrcli.store.verify import verify
from vtrcli.store.writer import StoreWriter
from vtrcli.training.record import read_metrics

Contents = dict[str, Any]
CPU = ["--device", "cpu"]
CSV = ["--dataset", "csv", "--annotations", "."]
SPLITS = ["train", "train", "val", "test"]
WORDS = "red green blue round square small large slow fast bright dark lonely".split()


def store_contents(store: Path) -> Contents:
    """Features, times and kept frames per video, captions, the bank's captions, failures."""
    if not (store / "store.json").exists():
        return {}
    opened = FeatureStore(store)
    found: Contents = {"config": opened.config}
    for name, at in opened.videos.items():
        images = frames_of(store, opened.shards[at.shard], at)
        arrays = opened.features(name).tobytes(), opened.timestamps(name).tobytes()
        found[f"video {name}"] = (*arrays, images)
        found[f"path {name}"] = Path(at.record.path).name
        found[f"folder {name}"] = Path(at.record.path).parent.name
    for path in [*text_paths(store), *store.glob(BANK_NAME)]:
        file = open_texts(path)
        for row, text in enumerate(texts_of(file)):
            found[f"{path.name if path.name == BANK_NAME else 'text'} {text}"] = file.tensor("fusion")[
                row
            ].tobytes()
    failures = read_failures(store, (at.record for at in opened.videos.values()))
    found |= {f"failure {path}": failure.reason for path, failure in failures.items()}
    return found


def failures_in(contents: Contents) -> set[str]:
    return {key for key in contents if key.startswith("failure ")}


def tensors_of(path: Path) -> Contents:
    file = TensorFile(path)
    return {name: file.tensor(name).tobytes() for name in sorted(file._tensors)}


def run_contents(folder: Path) -> Contents:
    """The newest finished run below a folder: its weights, and its validation metrics per epoch."""
    runs = sorted(folder.glob("runs/*/model.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    if not runs:
        return {}
    rows = read_metrics(runs[-1].parent)
    return {
        "model": tensors_of(runs[-1]),
        "epochs": [(row["epoch"], row["val"]["t2v"]["MnR"]) for row in rows],
        "curves": (runs[-1].parent / "curves.svg").exists(),
    }


def files_in(name: str) -> Callable[[Path], Contents]:
    """The sizes of the files below `name`."""

    def contents(folder: Path) -> Contents:
        paths = [folder / name] if (folder / name).is_file() else sorted((folder / name).glob("[!.]*"))
        return {path.name: path.stat().st_size for path in paths if path.is_file()}

    return contents


def clips_of(folder: Path) -> Contents:
    """Which videos have a clip that is whole; a command that runs again gives further ones a number."""
    from vtrcli.video.probe import probe

    found = {}
    for path in sorted((folder / "clips").glob("[!.]*")):
        found[re.sub(r"(s)-\d+\.mp4", r"\1.mp4", path.name)] = probe(path).duration_seconds
    return found


@dataclass(frozen=True)
class Writer:
    """A command that writes. `contents` is what it must leave; `again` is the second try, if not the same command."""

    arguments: list[str]
    contents: Callable[[Path], Contents] = lambda folder: store_contents(folder / "store")
    before: Callable[[Path], None] = lambda folder: None
    again: Callable[[Path], list[str]] | None = None
    root: str = "."
    program: str = ""
    is_derived: bool = False  # what cannot be written is done without
    environment: dict[str, str] = field(default_factory=dict)
    ok: int = 0
    may_lose: tuple[str, ...] = ()  # beginnings of what the command takes away or changes


def supersede(folder: Path) -> None:
    """A second shard whose rows supersede some of the first."""
    store = folder / "store"
    opened = FeatureStore(store)
    writer = StoreWriter(store, backbone_sha256=opened.config.backbone.sha256)
    for name in ("0", "2"):
        at = opened.videos[name]
        images = frames_of(store, opened.shards[at.shard], at)
        jpegs = FrameJpegs(tuple(images)) if images else None
        writer.add(at.record, opened.features(name), opened.timestamps(name), jpegs=jpegs)
    writer.flush()


def spoil_a_shard(folder: Path) -> None:
    path = next((folder / "store" / "shards").glob("*.safetensors"))
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)


def resumed(folder: Path) -> list[str]:
    if (folder / "runs/one/config.json").exists():
        return ["train", *STORE, *CSV, *CPU, "--out", "runs/one", "--resume"]
    return WRITERS["train"].arguments


def unless_done(name: str, folder: Path) -> list[str]:
    """The command again; where it was done before the kill it has nothing to do, and says so with an error."""
    records = [at.record for at in FeatureStore(folder / "store").videos.values()]
    is_done = {"prune": len(records) == 3, "relocate": all("/moved/" in record.path for record in records)}
    return ["store", "info", *STORE] if is_done[name] else WRITERS[name].arguments


STORE = ["--store", "store"]
NEW_VIDEOS = ["extract", "videos", "more", *CPU, "--workers", "1"]
WRITERS: dict[str, Writer] = {
    "init": Writer(
        ["init", "--videos", "videos"],
        files_in("vtr.toml"),
        again=lambda folder: ["init", "--videos", "videos", "--force"],
    ),
    "extract": Writer([*NEW_VIDEOS, *STORE], ok=5),
    "extract-keep-frames": Writer([*NEW_VIDEOS, *STORE, "--keep-frames"], ok=5),
    "extract-into-a-new-store": Writer(
        ["extract", "videos", "--store", "new", "--backbone", "demo", "--frames", "3", "--keep-frames", *CPU],
        lambda folder: store_contents(folder / "new"),
    ),
    "cache": Writer(["cache", *STORE, *CSV, *CPU]),
    "cache-another-backbone": Writer(
        ["cache", *STORE, "--backbone", "other.safetensors", "--out", "other", *CPU],
        lambda folder: store_contents(folder / "other"),
    ),
    "train": Writer(
        ["train", *STORE, *CSV, *CPU, "--out", "runs/one", "--epochs", "1"],
        run_contents,
        again=resumed,
        root="runs",
    ),
    "bank": Writer(["bank", "build", *STORE, "--texts", "texts.txt", *CPU]),
    "gallery": Writer(["search", "red", *STORE, "--gallery", "page.html", *CPU], files_in("page.html")),
    "clips": Writer(["search", "red", *STORE, "--clips", "clips", *CPU], clips_of, root="clips"),
    "clips-in-ffmpeg": Writer(
        ["search", "red", *STORE, "--clips", "clips", *CPU], clips_of, root="clips", program="ffmpeg"
    ),
    "search": Writer(["search", "a red circle", *STORE, *CPU], is_derived=True),
    "report": Writer(
        [
            "eval",
            *STORE,
            *CSV,
            *CPU,
            "--run",
            "none",
            "--report",
            "report.html",
            "--save-ranks",
            "ranks.json",
            "--save-similarities",
            "matrix.npy",
        ],
        lambda folder: files_in("ranks.json")(folder) | files_in("matrix.npy")(folder),
    ),
    "models-import": Writer(
        ["models", "import", "other.safetensors", "--name", "mine"], files_in("home/.cache/clip"), root="home"
    ),
    "prune": Writer(
        ["store", "prune", "3", *STORE],
        again=lambda folder: unless_done("prune", folder),
        may_lose=("video 3", "path 3", "folder 3"),
    ),
    "compact": Writer(["store", "compact", *STORE], before=supersede),
    "relocate": Writer(
        ["store", "relocate", "videos", "moved", *STORE],
        before=lambda folder: (folder / "videos").rename(folder / "moved") and None,
        again=lambda folder: unless_done("relocate", folder),
        may_lose=("folder ",),
    ),
    "verify-repair": Writer(
        ["store", "verify", *STORE, "--repair"], lambda folder: {}, before=spoil_a_shard, root="store"
    ),
}


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    running = Forks(tmp_path_factory.mktemp("forks"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """Videos, a store of some of them with kept frames, captions, weights: what every command starts from."""
    from tests.model.tiny_clip import write_tiny_clip

    folder = tmp_path_factory.mktemp("template")
    for name in ("videos", "more"):
        (folder / name).mkdir()
    (folder / "home").mkdir()
    for number in range(4):
        make_video(folder / "videos" / f"{number}.mp4", hue=60 * number, seconds=0.5)
    for number in range(4, 6):
        make_video(folder / "more" / f"{number}.mp4", hue=50 * number, seconds=0.5)
    (folder / "more" / "broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 60)
    rows = [
        f"{n},a {word} thing moves,{split}" for n, split in enumerate(SPLITS) for word in WORDS[n : n + 3]
    ]
    (folder / "captions.csv").write_text("\n".join(["video_id,caption,split", *rows]) + "\n")
    (folder / "texts.txt").write_text(
        "\n".join(f"a {one} and {two} thing" for one in WORDS[:6] for two in WORDS[:6])
    )
    write_tiny_clip(folder / "other.safetensors")
    made = forks.run(
        [
            "extract",
            "videos",
            "--store",
            "store",
            "--backbone",
            "demo",
            "--frames",
            "3",
            "--keep-frames",
            *CPU,
        ],
        folder,
    )
    assert made.code == 0, made
    return folder


def kept_by(writer: Writer, folder: Path) -> Contents:
    """What of the store must be there whatever happens."""
    if writer.before is spoil_a_shard:
        return {}
    there = store_contents(folder / "store")
    return {key: value for key, value in there.items() if not key.startswith(writer.may_lose or ("\0",))}


def fresh(template: Path, folder: Path, writer: Writer) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    writer.before(folder)
    return folder


def run(
    forks: Forks, writer: Writer, folder: Path, arguments: list[str] | None = None, **fault: Any
) -> Outcome:
    root = folder if writer.root == "." else folder / writer.root
    if not fault:
        return forks.run(arguments or writer.arguments, folder, root=root, environment=writer.environment)
    return forks.run(
        arguments or writer.arguments,
        folder,
        root=root,
        program=writer.program,
        environment=writer.environment,
        **fault,
    )


def require_sound(folder: Path, kept: Contents) -> None:
    """The stores of the folder are sound, and hold at least what they held."""
    for name in ("store", "new", "other"):
        if (folder / name / "store.json").exists():
            assert verify(folder / name).problems == ()
    now = store_contents(folder / "store")
    assert {key: now.get(key) for key in kept} == kept, "what was there is lost"


def require_told(outcome: Outcome, writer: Writer, *, context: str) -> None:
    """One line, the right exit code, no traceback; what is derived is done without."""
    assert "Traceback" not in outcome.stderr, f"{context}: {outcome.stderr}"
    assert outcome.code in (writer.ok, 3, 4, 5), f"{context}: {outcome}"
    if outcome.code in (3, 4):
        said = [line for line in outcome.stderr.splitlines() if line.startswith(("vtr: ", "error: "))]
        assert len(said) == 1, f"{context}: {outcome}"
        assert re.search("No space left|Input/output|space", outcome.stderr), f"{context}: {outcome}"


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_killed_at_each_call_nothing_is_lost_and_the_next_run_ends_alike(
    name: str, template: Path, forks: Forks, tmp_path: Path
) -> None:
    writer = WRITERS[name]
    folder = fresh(template, tmp_path / "work", writer)
    kept = kept_by(writer, folder)
    outcome = run(forks, writer, folder, kind="kill", at=0)
    assert outcome.code == writer.ok, outcome
    calls, wanted = forks.calls(), writer.contents(folder)
    assert len(calls) >= 2
    done_before = dict(zip([call.number for call in calls], [None, *calls], strict=False))
    for call in worth_a_fault(calls, "kill"):
        folder = fresh(template, folder, writer)
        killed = run(forks, writer, folder, kind="kill", at=call.number)
        if not writer.program:
            assert killed.code == -9, f"{call}: {killed}"
        if name != "verify-repair":
            require_sound(folder, kept)
        # A failure that the killed run had listed is known to the next one, which then has nothing new to tell.
        is_told = writer.ok == 5 and failures_in(store_contents(folder / "store")) > failures_in(kept)
        if not changes_what_is_there(done_before[call.number]):
            continue
        again = run(forks, writer, folder, writer.again(folder) if writer.again else None)
        assert again.code == (0 if is_told else writer.ok), f"after {call}: {again}"
        assert writer.contents(folder) == wanted, f"after {call}"
        require_sound(folder, kept)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_or_broken_disk_at_each_call_is_told_in_a_line(
    name: str, kind: Kind, template: Path, forks: Forks, tmp_path: Path
) -> None:
    writer = WRITERS[name]
    folder = fresh(template, tmp_path / "work", writer)
    kept, before = kept_by(writer, folder), writer.contents(folder)
    assert run(forks, writer, folder, kind="kill", at=0).code == writer.ok
    calls, wanted = forks.calls(), writer.contents(folder)
    for call in worth_a_fault(calls, kind):
        folder = fresh(template, folder, writer)
        outcome = run(forks, writer, folder, kind=kind, at=call.number)
        context = f"{kind} at {call}"
        require_told(outcome, writer, context=context)
        if name != "verify-repair":
            require_sound(folder, kept)
        if writer.is_derived:
            assert outcome.code == 0, f"{context}: {outcome}"
        if call.name != "unlink":  # a temporary file that cannot be deleted stays
            assert not list(folder.rglob(f"{TEMPORARY_PREFIX}*")), context
        have = writer.contents(folder)
        if name != "train":
            assert all(have[key] in (wanted.get(key), before.get(key)) for key in have), context
        if outcome.code == writer.ok and call.name != "unlink" and not writer.is_derived:
            assert have == wanted, f"{context}: ended well without its work"
