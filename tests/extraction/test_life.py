"""The life of a store: 200 clips are renamed, moved, copied, swapped, deleted; their disk changes its mount point."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import vtrcli.extraction.pipeline as pipeline
from tests.model.tiny_clip import write_tiny_clip
from vtrcli.extraction.extract import extract
from vtrcli.store.compact import compact
from vtrcli.store.prune import prune
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import file_content
from vtrcli.store.relocate import relocate
from vtrcli.store.verify import verify
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.sampling import Uniform

NUM_CLIPS = 200
NUM_KILLS = 20  # of each command
pytestmark = pytest.mark.slow


def draw_clips(folder: Path) -> None:
    """One second each, no two alike, in four folders; the last one is a twin of the first."""
    folder.mkdir(parents=True)
    command = [ffmpeg_binary(), "-v", "error", "-f", "lavfi"]
    command += ["-i", f"testsrc2=size=64x48:rate=10:duration={NUM_CLIPS - 1}", "-c:v", "libx264"]
    command += [
        "-preset",
        "ultrafast",
        "-g",
        "10",
        "-f",
        "segment",
        "-segment_time",
        "1",
        "-reset_timestamps",
        "1",
    ]
    subprocess.run([*command, str(folder / "%03d.mp4")], check=True, stdin=subprocess.DEVNULL)
    for number, path in enumerate(sorted(folder.glob("*.mp4"))):
        day = folder / f"day {number % 4}"
        day.mkdir(exist_ok=True)
        path.rename(day / path.name)
    assert len(clips(folder)) == NUM_CLIPS - 1
    shutil.copy(folder / "day 0" / "000.mp4", folder / "day 3" / "twin.mp4")


def clips(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.mp4"))


@dataclass
class Library:
    """A folder of clips and its store. `decoded` are the paths that a decoder was opened for."""

    folder: Path
    store: Path
    weights: str
    decoded: list[Path] = field(default_factory=list)

    def extract(self, store: Path | None = None) -> None:
        result = extract(
            [self.folder],
            store=store or self.store,
            backbone=self.weights,
            sampling=Uniform(num_frames=3),
            device="cpu",
        )
        assert result.failures == []

    def contents(self) -> dict[str, str]:
        """Id -> SHA-256 of the file that its path leads to; a ghost would have none."""
        videos = FeatureStore(self.store).videos
        assert sorted(at.record.path for at in videos.values()) == [str(path) for path in clips(self.folder)]
        found = {name: file_content(Path(at.record.path)) for name, at in videos.items()}
        assert found == {name: at.record.content for name, at in videos.items()}
        return found  # type: ignore[return-value]


def features(store: Path, *, by_path: bool = False) -> dict[str, bytes]:
    opened = FeatureStore(store)
    return {
        at.record.path if by_path else name: opened.features(name).tobytes()
        + opened.timestamps(name).tobytes()
        for name, at in opened.videos.items()
    }


def swap(first: Path, second: Path) -> None:
    other = first.with_suffix(".tmp")
    first.rename(other)
    second.rename(first)
    other.rename(second)


def rename_and_move(folder: Path) -> None:
    for number, path in enumerate(clips(folder)[::5]):
        path.rename(path.with_name(f"renamed {number} é.mp4") if number % 2 else folder / path.name)
    (folder / "day 2").rename(folder / "second day")


def swap_and_chain(folder: Path) -> None:
    paths = clips(folder)
    for first, second in zip(paths[1:40:4], paths[2:40:4], strict=False):
        swap(first, second)
    swap(*twins(folder))
    for later, path in zip([folder / "end of the chain.mp4", *paths[60:70]], paths[60:70], strict=False):
        path.rename(later)


def twins(folder: Path) -> tuple[Path, Path]:
    by_content: dict[str, list[Path]] = {}
    for path in clips(folder):
        by_content.setdefault(str(file_content(path)), []).append(path)
    (pair,) = (paths for paths in by_content.values() if len(paths) == 2)
    return pair[0], pair[1]


def touch(folder: Path) -> None:
    for path in clips(folder):
        os.utime(path)


def total_bytes(store: Path) -> int:
    return sum(
        path.stat().st_size for path in store.rglob("*") if path.is_file() and "index" not in path.parts
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    base = tmp_path_factory.mktemp("life")
    draw_clips(base / "disk" / "videos")
    weights = str(write_tiny_clip(base / "tiny.safetensors"))
    return Library(base / "disk" / "videos", base / "store", weights)


def test_the_life_of_a_store(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    open_video = pipeline.open_video

    def counted(path: Path, *arguments: object, **options: object) -> object:
        library.decoded.append(path)
        return open_video(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "open_video", counted)
    library.extract()
    assert len(library.decoded) == NUM_CLIPS - 1  # twins are decoded once
    born, first = library.contents(), features(library.store)
    assert len(born) == NUM_CLIPS

    for change in (rename_and_move, swap_and_chain, touch):
        change(library.folder)
        library.extract()
        assert library.contents() == born, change.__name__
        assert features(library.store) == first

    original = library.folder
    library.folder = original.parent.parent / "copy" / "videos"
    shutil.copytree(original, library.folder, copy_function=shutil.copy)  # cp -r; the original is still there
    library.extract()
    assert library.contents() == born
    shutil.rmtree(original.parent)

    mounted = library.folder.parent.rename(library.folder.parent.parent / "mount 1")
    library.folder = mounted / "videos"
    library.extract()
    assert library.contents() == born
    moved = mounted.rename(mounted.parent / "mount 2")
    relocate(library.store, str(mounted), moved)
    library.folder = moved / "videos"
    assert library.contents() == born
    library.extract()
    assert library.contents() == born

    for path in clips(library.folder)[::3]:
        path.unlink()
    gone = prune(library.store, missing=True, dry_run=True)
    assert len(FeatureStore(library.store).videos) == NUM_CLIPS
    assert prune(library.store, missing=True).videos == gone.videos
    assert len(gone.videos) == -(-NUM_CLIPS // 3)
    left = library.contents()
    assert left == {name: born[name] for name in left}
    assert features(library.store) == {name: first[name] for name in left}

    compact(library.store)
    assert library.contents() == left
    library.extract()
    assert len(library.decoded) == NUM_CLIPS - 1, "something was decoded twice"

    afresh = library.store.with_name("afresh")
    library.extract(afresh)
    assert features(afresh, by_path=True) == features(library.store, by_path=True)
    ratio = total_bytes(library.store) / total_bytes(afresh)
    print(f"{total_bytes(library.store):,} bytes, {ratio:.3f} of a store made afresh")
    assert 0.95 < ratio < 1.05
    assert verify(library.store).problems == ()


# Says when it is about to begin, so that a kill hits the work and not the start of Python.
CHILD = """
import sys
from pathlib import Path
from vtrcli.store.compact import compact
from vtrcli.store.prune import prune
from vtrcli.store.relocate import relocate
store, old, new = map(Path, sys.argv[2:5])
print("ready", flush=True)
sys.stdin.readline()
{
    "prune": lambda: prune(store, under=[old / "day 1"]),
    "compact": lambda: compact(store),
    "relocate": lambda: relocate(store, str(old / "day 1"), new),
}[sys.argv[1]]()
print("done", flush=True)
"""


def run_child(
    name: str, store: Path, old: Path, new: Path, *, kill_after: float | None = None
) -> float | None:
    """Seconds from the word to the end; None when it was killed before."""
    command = [sys.executable, "-c", CHILD, name, str(store), str(old), str(new)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin and child.stdout and child.stdout.readline() == "ready\n"
        started = time.monotonic()
        child.stdin.write("\n")
        child.stdin.flush()
        if kill_after is not None:
            time.sleep(kill_after)
            child.send_signal(signal.SIGKILL)
        is_done = child.stdout.readline() == "done\n"
        seconds = time.monotonic() - started
        child.wait()
        assert is_done or kill_after is not None
        return seconds if is_done else None


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory, library: Library) -> Library:
    """A store in several shards, with superseded and removed rows, and a folder that was renamed."""
    base = tmp_path_factory.mktemp("worn")
    worn = Library(base / "videos", base / "store", library.weights)
    draw_clips(worn.folder)
    worn.extract()
    for change in (touch, rename_and_move, touch, swap_and_chain):
        change(worn.folder)
        worn.extract()
    (worn.folder / "day 1").rename(base / "elsewhere")
    return worn


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("name", ["prune", "compact", "relocate"])
def test_a_kill_at_any_moment_loses_nothing(worn: Library, name: str, tmp_path: Path) -> None:
    before, old, new = features(worn.store), worn.folder, worn.folder.parent / "elsewhere"

    def fresh_copy(label: str) -> Path:
        return Path(shutil.copytree(worn.store, tmp_path / label))

    undisturbed = fresh_copy("undisturbed")
    tries = [
        run_child(name, store, old, new)
        for store in (undisturbed, fresh_copy("again"), fresh_copy("once more"))
    ]
    seconds = min(filter(None, tries))  # on a busy machine one of them may take long
    after = state(undisturbed)
    rng = random.Random(name)
    num_killed = 0
    for number in range(NUM_KILLS):
        store = fresh_copy(f"killed {number}")
        num_killed += run_child(name, store, old, new, kill_after=rng.uniform(0, seconds)) is None
        left = features(store)
        assert left == {video_id: before[video_id] for video_id in left}
        assert set(left) in (set(before), set(after))  # prune: all or none; the others keep every video
        assert verify(store).problems == ()
        if state(store) != after or name == "compact":
            run_child(name, store, old, new)
        assert state(store) == after
        shutil.rmtree(store)
    print(f"{name}: {seconds * 1000:.0f} ms, {NUM_KILLS} kills, {num_killed} of them before its end")
    assert num_killed > 0


def state(store: Path) -> dict[str, tuple[str, bytes]]:
    paths = FeatureStore(store).paths
    return {name: (paths[name], body) for name, body in features(store).items()}
