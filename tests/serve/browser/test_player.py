"""The player in a real browser: each kind of file plays from its moment, on the video's own clock."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.serve.browser.served import Served, Visit, serving, visiting
from tests.video.clips import run_ffmpeg
from vtrcli.video.cut import frame_at

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SECONDS = 30
# A colour that changes with time, and a pattern: a picture tells its time to about 0.1 s, and which way up it is.
SOURCE = f"testsrc2=size=320x240:rate=25:duration={SECONDS},hue=H=2*PI*t/{SECONDS}"
SOUND = ("-f", "lavfi", "-i", f"sine=frequency=440:duration={SECONDS}")
# What the page asks beside the player is not looked at here.
FACTS = r"status of 404 .*/api/videos/[^/]*\?moments"
# Name -> options of the encoder, kind.
KINDS = {
    "direct.mp4": (["-c:v", "libx264", "-bf", "2", "-c:a", "aac"], "direct"),
    "packed.mkv": (["-c:v", "libx264", "-bf", "2", "-c:a", "aac"], "remux"),
    "with_ac3.mkv": (["-c:v", "libx264", "-bf", "2", "-c:a", "ac3"], "remux"),
    "transport.ts": (["-c:v", "libx264", "-bf", "2", "-c:a", "aac"], "remux"),
    "old.avi": (["-c:v", "mpeg4", "-q:v", "2", "-c:a", "mp3"], "transcode"),
    "ten_bit.mp4": (["-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-c:a", "aac"], "transcode"),
    "hevc.mp4": (["-c:v", "libx265", "-x265-params", "log-level=none", "-c:a", "aac"], "transcode"),
    "vp9.mkv": (
        ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"],
        "remux",
    ),
    "turned_direct.mp4": ([], "direct"),
    "turned_mpeg4.mov": ([], "transcode"),
    "turned_packed.mkv": ([], "remux"),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds") / "videos"
    folder.mkdir()
    for name, (options, _) in KINDS.items():
        if options:
            pixels = [] if "-pix_fmt" in options else ["-pix_fmt", "yuv420p"]
            run_ffmpeg(
                "-f", "lavfi", "-i", SOURCE, *SOUND, "-g", "100", "-preset", "ultrafast", *pixels, *options,
                f"file:{folder / name}",
            )  # fmt: skip
    for source, target in (
        ("direct.mp4", "turned_direct.mp4"),
        ("direct.mp4", "turned_packed.mkv"),
        ("old.avi", "turned_mpeg4.mov"),
    ):
        run_ffmpeg(
            "-display_rotation",
            "90",
            "-i",
            f"file:{folder / source}",
            "-c",
            "copy",
            f"file:{folder / target}",
        )
    return folder


@pytest.fixture(scope="module")
def kinds(videos: Path) -> Iterator[Served]:
    from vtrcli.api import extract

    store = videos.parent / "store"
    extract([videos], store=store, backbone="demo", device="cpu", frames=4)
    with serving(store) as one:
        yield one


@pytest.fixture
def there(browser: Browser, kinds: Served) -> Iterator[Visit]:
    with visiting(browser, kinds.url) as one:
        one.expected.append(FACTS)
        yield one.go()


def open_at(visit: Visit, name: str, start: float, end: float | None = None) -> None:
    shown = {"store": None, "id": Path(name).stem, "start": start, "end": end}
    visit.page.evaluate("async shown => (await import('/page/js/player.js')).openMoment(shown)", shown)


def playing(visit: Visit, seconds: float = 0.3) -> None:
    """Until it has moved on by itself."""
    visit.page.wait_for_function(
        "seconds => { const v = document.querySelector('#player video');"
        " if (!v || v.paused || v.readyState < 3) return false;"
        " v.dataset.from ??= v.currentTime; return v.currentTime - v.dataset.from >= seconds }",
        arg=seconds,
    )


def picture(visit: Visit) -> tuple[float, np.ndarray]:
    """The time that is shown, and what of it: float [24, 32, 3] for a wide picture, [32, 24, 3] for a tall one."""
    found: dict[str, Any] = visit.page.evaluate(
        """() => {
          const video = document.querySelector('#player video');
          video.pause();
          return new Promise((resolve) => {
            const draw = () => {
              const canvas = document.createElement('canvas');
              const wide = video.videoWidth > video.videoHeight;
              [canvas.width, canvas.height] = wide ? [32, 24] : [24, 32];
              const context = canvas.getContext('2d');
              context.imageSmoothingQuality = 'high';
              context.drawImage(video, 0, 0, canvas.width, canvas.height);
              const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
              resolve({ time: video.currentTime, width: canvas.width, height: canvas.height, data: [...data] });
            };
            // Seek to where it stands: the picture drawn is surely that of the time told.
            video.addEventListener('seeked', () => requestAnimationFrame(draw), { once: true });
            video.currentTime = video.currentTime;
          });
        }"""
    )
    pixels = np.array(found["data"], float).reshape(found["height"], found["width"], 4)[..., :3]
    return found["time"], pixels


def small(path: Path, seconds: float, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    frame = Image.fromarray(frame_at(path, seconds))
    return np.asarray(frame.resize((shape[1], shape[0]), Image.Resampling.BOX), float)


def assert_same_picture(path: Path, seconds: float, pixels: np.ndarray) -> None:
    """The nearest of the video's own pictures, a second about, is the one of that time."""
    offsets = np.arange(-1.0, 1.01, 0.2)
    errors = [
        float(np.abs(small(path, max(0, seconds + by), pixels.shape) - pixels).mean()) for by in offsets
    ]
    assert abs(offsets[int(np.argmin(errors))]) < 0.21, errors
    assert min(errors) < 20, errors


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("start", [0.0, 13.7])
def test_it_plays_from_the_moment(there: Visit, videos: Path, name: str, start: float) -> None:
    open_at(there, name, start, start + 5)
    playing(there)
    seconds, pixels = picture(there)
    assert start - 0.05 <= seconds < start + 4
    assert_same_picture(videos / name, seconds, pixels)
    kind = KINDS[name][1]
    label = {"direct": "", "remux": "repacked", "transcode": "converted"}[kind]
    assert there.page.locator("#player .how").inner_text() == label
    duration = there.page.evaluate("document.querySelector('#player .now').textContent")
    assert duration.endswith("/ 0:30")


def test_seeking_in_a_conversion_begins_anew_there_on_the_same_clock(there: Visit, videos: Path) -> None:
    open_at(there, "old.avi", 20.0)
    playing(there)
    slider = there.page.get_by_role("slider", name="Time")
    box = slider.bounding_box()
    assert box is not None
    there.page.mouse.click(box["x"] + box["width"] * 0.1, box["y"] + box["height"] / 2)
    there.page.wait_for_function(
        "() => { const v = document.querySelector('#player video');"
        " return v.currentTime > 2.5 && v.currentTime < 8 && v.readyState > 2 && !v.seeking }"
    )
    seconds, pixels = picture(there)
    assert_same_picture(videos / "old.avi", seconds, pixels)


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.parent.name))
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks at /proc")
@pytest.mark.parametrize("leave", ["close", "away"])
def test_leaving_in_the_middle_ends_the_child(there: Visit, kinds: Served, leave: str) -> None:
    assert kinds.process is not None
    open_at(there, "hevc.mp4", 1.0)
    playing(there)
    if leave == "close":
        there.page.keyboard.press("Escape")
    else:
        there.page.goto("about:blank")
    until = time.monotonic() + 15
    while children_of(kinds.process.pid):
        assert time.monotonic() < until, "ffmpeg goes on"
        time.sleep(0.05)


def test_play_all_goes_from_one_to_the_next(there: Visit) -> None:
    moments = [("direct", 3.0), ("old", 10.0), ("packed", 20.0)]
    results = [
        {"video_id": name, "start_seconds": start, "end_seconds": start + 1.2, "chain": None}
        for name, start in moments
    ]
    there.page.evaluate("async results => (await import('/page/js/player.js')).playAll(results)", results)
    title = there.page.locator("#player .title")
    for number, (name, start) in enumerate(moments, 1):
        there.page.wait_for_function(
            "words => document.querySelector('#player .title').textContent.startsWith(words)",
            arg=f"{number} of 3 · {name}",
        )
        there.page.wait_for_function(
            "start => { const v = document.querySelector('#player video');"
            " return v.currentTime > start && v.currentTime < start + 2.5 }",
            arg=start,
        )
    there.page.get_by_text("That was all").wait_for()
    there.page.get_by_role("button", name="Again", exact=True).click()
    there.page.wait_for_function(
        "() => document.querySelector('#player .title').textContent.startsWith('1 of 3')"
    )
    assert title.inner_text().startswith("1 of 3")


def test_keys(there: Visit) -> None:
    open_at(there, "packed.mkv", 5.0, 7.0)
    playing(there)
    press = there.page.keyboard.press
    there.page.locator("#player video").focus()

    def state() -> Any:
        return there.page.evaluate(
            "(() => { const v = document.querySelector('#player video'); return [v.paused, v.muted, v.currentTime] })()"
        )

    press("k")
    paused, muted, before = state()
    assert paused
    press("ArrowRight")
    assert state()[2] == pytest.approx(before + 5, abs=0.1)
    press("ArrowLeft")
    press("ArrowLeft")
    assert state()[2] == pytest.approx(before - 5, abs=0.1)
    press("m")
    assert state()[1] != muted
    press("r")
    there.page.wait_for_function("() => document.querySelector('#player video').currentTime >= 5")
    assert not state()[0]
    press("Escape")
    there.page.wait_for_function("() => !document.querySelector('#player').open")
    assert there.page.locator("#player video").count() == 0


def test_what_is_wrong_is_said_in_words(browser: Browser, kinds: Served, videos: Path) -> None:
    with visiting(browser, kinds.url) as visit:
        visit.expected.append(r"the server responded with a status of (404|503)")
        visit.go()
        aside = videos / "aside"
        os.rename(videos / "vp9.mkv", aside)
        try:
            open_at(visit, "vp9.mkv", 1.0)
            visit.page.get_by_text("Its file is gone").wait_for()
            visit.page.get_by_role("button", name="Try again").wait_for()
        finally:
            os.rename(aside, videos / "vp9.mkv")
        visit.page.get_by_role("button", name="Try again").click()
        playing(visit)
        told = {"came_in": "too many videos are being converted", "allowed": "2 at once", "to_do": "x"}
        busy = json.dumps({"schema": 1, "error": told})
        visit.page.route(
            re.compile("/stream"),
            lambda route: route.fulfill(
                status=503, body=busy, content_type="application/json", headers={"Retry-After": "1"}
            ),
            times=1,
        )
        open_at(visit, "old.avi", 1.0)
        visit.page.get_by_text("Too many videos are being converted").wait_for()
        visit.page.get_by_text("Trying again").wait_for()
        playing(visit)
        visit.page.get_by_text("Too many").wait_for(state="hidden")


def test_a_browser_that_refuses_a_file_gets_it_converted(there: Visit) -> None:
    there.page.route(
        re.compile("/file"),
        lambda route: route.fulfill(status=200, body=b"no video", content_type="video/mp4"),
    )
    open_at(there, "direct.mp4", 4.0)
    playing(there)
    assert there.page.evaluate("document.querySelector('#player video').currentTime") >= 4
    assert there.page.locator("#player .how").inner_text() == "converted"
