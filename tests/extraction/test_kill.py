"""SIGKILL at random moments, then again: the store comes out bit for bit as one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.model.tiny_clip import write_tiny_clip
from tests.video_files import make_video
from vtrcli.store.reader import FeatureStore
from vtrcli.store.verify import repair, verify

NUM_KILLS = 10


def command(videos: Path, store: Path, weights: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "vtrcli", "extract", str(videos), "--store", str(store)),
        *("--backbone", str(weights), "--device", "cpu", "--keep-frames", "--quiet"),
    ]


def contents(store: Path) -> dict[str, tuple[bytes, bytes]]:
    opened = FeatureStore(store)
    return {
        name: (opened.features(name).tobytes(), opened.timestamps(name).tobytes()) for name in opened.videos
    }


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_store_survives_ten_kills(tmp_path: Path) -> None:
    videos = Path(os.environ["VTR_TEST_DATA"], "videos", "natural") if "VTR_TEST_DATA" in os.environ else None
    if videos is None:
        videos = tmp_path / "videos"
        videos.mkdir()
        for number in range(40):
            make_video(videos / f"{number}.mp4", seconds=4, hue=9 * number, size="320x240", fps=25)
    weights = write_tiny_clip(tmp_path / "tiny.safetensors")
    started = time.monotonic()
    subprocess.run(command(videos, tmp_path / "undisturbed", weights), check=True)
    whole_seconds = time.monotonic() - started
    rng = random.Random(0)
    num_kept = []
    for _ in range(NUM_KILLS):
        child = subprocess.Popen(command(videos, tmp_path / "killed", weights), start_new_session=True)
        time.sleep(rng.uniform(0.1, 1.0) * whole_seconds / 2)
        child.send_signal(signal.SIGKILL)
        child.wait()
        if (tmp_path / "killed" / "store.json").exists():
            report = verify(tmp_path / "killed")
            assert report.problems == ()
            num_kept.append(len(FeatureStore(tmp_path / "killed").videos))
    assert num_kept == sorted(num_kept), "a kill lost finished videos"
    subprocess.run(command(videos, tmp_path / "killed", weights), check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
    repair(tmp_path / "killed", verify(tmp_path / "killed"))
    assert verify(tmp_path / "killed").leftovers == ()
    print(f"videos kept after each kill: {num_kept} of {len(contents(tmp_path / 'killed'))}")
