"""The gallery: what a card says, that nothing untrusted becomes more than text, and that a browser opens it quietly."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser import open_page
from tests.pages import HOSTILE, Page
from tests.searching.hits import make_hit
from tests.store.stores import SHA256, make_config, make_record
from tests.video_files import make_video
from vtrcli.errors import StoreError
from vtrcli.moments.moment import Moment
from vtrcli.searching import gallery
from vtrcli.searching.gallery import gallery_html, write_gallery
from vtrcli.searching.results import Hit, SearchResult, Step
from vtrcli.store.config import create_config
from vtrcli.store.frames import FRAME_FOLDER, FrameJpegs, encode_jpegs
from vtrcli.store.reader import FeatureStore
from vtrcli.store.writer import StoreWriter


def result(*hits: Hit, query: str = "a man cooking", notes: tuple[str, ...] = ()) -> SearchResult:
    return SearchResult(query=query, num_videos=1284, hits=hits, notes=notes)


def page_of(*results: SearchResult, store: FeatureStore | None = None) -> Page:
    if store is not None:
        results = tuple(
            replace(each, hits=tuple(replace(hit, store=str(store.path)) for hit in each.hits))
            for each in results
        )
    return Page(gallery_html(results, stores=[] if store is None else [store]))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("gallery") / "a b#1.mp4", seconds=2.0)


def store_with_frames(path: Path, video_id: str = "a") -> FeatureStore:
    """Three kept frames at 0.5, 1.5 and 2.5 s: red, green, blue."""
    pixels = np.zeros((3, 32, 32, 3), np.uint8)
    for number in range(3):
        pixels[number, :, :, number] = 255
    create_config(path, make_config())
    writer = StoreWriter(path, backbone_sha256=SHA256)
    images = FrameJpegs(encode_jpegs(pixels))
    writer.add(make_record(video_id), np.ones((3, 4), np.float16), np.arange(3) + 0.5, jpegs=images)
    writer.flush()
    return FeatureStore(path)


def pictures(page: Page) -> list[Image.Image]:
    found = []
    for uri in page.values("src"):
        kind, data = uri.split(",", 1)
        assert kind == "data:image/jpeg;base64"
        found.append(Image.open(io.BytesIO(base64.b64decode(data))))
    return found


def test_a_card_says_all_that_the_table_says(video: Path) -> None:
    hit = make_hit(video, (0.4, 1.2), (72.0, 91.0), rank=7, relevance=-2.31)
    page = page_of(result(hit, notes=("a note",)))
    for wanted in (
        "a man cooking",
        "1 result from 1,284 videos",
        "a note",
        "0:00.4–0:01.2",
        "also 1:12–1:31",
    ):
        assert wanted in page.text
    for wanted in ("7", "score 0.25", "relevance −2.3", "a b#1.mp4", str(video.parent), "Written by vtr"):
        assert wanted in page.text
    assert page.values("href")[1:] == [
        video.as_uri() + "#t=0.40,1.20",
        video.as_uri() + "#t=72.00,91.00",
    ]
    assert "/a%20b%231.mp4#t=" in page.values("href")[1]


def test_a_chain_has_a_picture_and_a_link_for_each_of_its_moments(tmp_path: Path, video: Path) -> None:
    store = store_with_frames(tmp_path / "store")
    steps = (
        Step("it is <red>", Moment(0.0, 0.5, 1.0, 0.3), 2.5),
        Step("it is blue", Moment(2.0, 2.5, 3.0, 0.3), 1.5),
    )
    hit = replace(make_hit(video, (0.0, 3.0)), chain=steps)
    page = page_of(result(hit, query="it is <red>, then it is blue"), store=store)
    assert len(page.values("src")) == 2
    assert [link.rpartition("#")[2] for link in page.values("href")[1:]] == [
        "t=0.00,1.00",
        "t=2.00,3.00",
        "t=0.00,3.00",
    ]
    assert "it is <red>" in page.text and "it is blue" in page.text
    first, last = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).mean(axis=(0, 1))
        for uri in page.values("src")
    )
    assert (int(np.argmax(first)), int(np.argmax(last))) == (0, 2)


def test_no_relevance_without_a_bank_and_no_link_to_a_missing_file() -> None:
    page = page_of(result(make_hit("/gone/a.mp4", (0, 5), (7, 9), is_missing=True)))
    assert "relevance" not in page.text and "missing" in page.text and "no picture" in page.text
    assert "a" not in page.elements and "also 0:07–0:09" in page.text


def test_several_queries_have_a_section_each_and_links_to_them() -> None:
    hit = make_hit("/gone/a.mp4", is_missing=True)
    page = page_of(result(hit), result(hit, hit, query="a dog"), result(query="nothing"))
    assert page.elements.count("h2") == 3 and page.elements.count("h1") == 1
    assert "3 searches" in page.text and "2 results" in page.text and "0 results" in page.text
    assert [value for value in page.values("href") if value.startswith("#")] == [
        "#query-1",
        "#query-2",
        "#query-3",
    ]
    assert {"query-1", "query-2", "query-3"} <= set(page.values("id"))
    assert "0 searches" in page_of().text


def test_nothing_untrusted_becomes_an_element_or_an_address() -> None:
    hits = [
        make_hit(f"/videos/{HOSTILE}/{HOSTILE}.mp4", relevance=1.0, video_id=HOSTILE, is_missing=is_missing)
        for is_missing in (True, False)
    ]
    page = page_of(*[result(*hits, query=HOSTILE, notes=(HOSTILE,))] * 2)
    assert not {"script", "img", "object", "iframe"} & set(page.elements)
    assert page.elements.count("style") == 1
    assert "alert(1)" in page.text and "\\udce9" in page.text  # it is shown, not hidden
    names = {name for name, _ in page.attributes}
    assert names <= {
        "charset",
        "http-equiv",
        "content",
        "name",
        "rel",
        "href",
        "lang",
        "class",
        "id",
        "style",
    }
    assert all(value.startswith(("data:,", "#query-", "file:///videos/")) for value in page.values("href"))
    assert not [value for value in page.values("href") if re.search(r"[<>\"'\s\x00-\x1f]", value)]


def test_the_page_forbids_itself_to_load_anything() -> None:
    page = gallery_html([result()])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize(("span", "color"), [((0, 0.2), 0), ((1, 2.2), 1), ((2, 90), 2)])
def test_the_kept_frame_nearest_to_the_peak(tmp_path: Path, span: tuple[float, float], color: int) -> None:
    store = store_with_frames(tmp_path / "store")
    (image,) = pictures(page_of(result(make_hit("/gone/a.mp4", span, is_missing=True)), store=store))
    pixel = image.getpixel((16, 16))
    assert isinstance(pixel, tuple) and int(np.argmax(pixel)) == color


def test_a_file_that_was_replaced_is_marked_not_drawn_and_not_linked(video: Path, tmp_path: Path) -> None:
    hit = replace(make_hit(video), is_replaced=True)
    for store in (None, store_with_frames(tmp_path / "store")):
        page = page_of(result(hit), store=store)
        assert pictures(page) == [] and "replaced" in page.text
        assert not any(value.startswith(video.as_uri()) for value in page.values("href"))


def test_files_of_the_same_content_are_named(video: Path) -> None:
    twins = tuple(f"/videos/twin{number}.mp4" for number in range(5))
    text = page_of(result(replace(make_hit(video), twins=twins))).text
    assert "same file: /videos/twin0.mp4, /videos/twin1.mp4, /videos/twin2.mp4, 2 more" in text


def test_else_the_frame_of_the_video_itself(video: Path, tmp_path: Path) -> None:
    other = store_with_frames(tmp_path / "store", video_id="another")
    for store in (None, other):
        (image,) = pictures(page_of(result(make_hit(video)), store=store))
        assert image.size == (64, 48)


def test_damaged_kept_frames_and_damaged_videos_cost_a_picture_not_the_page(
    video: Path, tmp_path: Path
) -> None:
    store = store_with_frames(tmp_path / "store")
    (shard,) = (store.path / FRAME_FOLDER).iterdir()
    shard.write_bytes(b"damaged")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    page = page_of(result(make_hit(video), make_hit(broken), make_hit("/gone/\x00.mp4")), store=store)
    assert [image.size for image in pictures(page)] == [(64, 48)]
    assert page.text.count("no picture") == 2


def test_cards_take_the_shape_of_their_pictures(video: Path) -> None:
    assert "--shape: 1.333" in page_of(result(make_hit(video))).values("style")
    assert "--shape: 1.778" in page_of(result()).values("style")


def test_the_page_stays_small(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = make_hit("/" + "/".join(["folder" * 20] * 30) + "/" + "n" * 250, is_missing=True)
    assert len(gallery_html([result(long, query="q" * 10_000)])) < 10_000
    monkeypatch.setattr(gallery, "MAX_CARDS", 3)
    page = page_of(result(long, long), result(long, long, long))
    assert page.values("class").count("missing") == 3
    assert "3 results from 1,284 videos; 2 further down the list are not shown on this page" in page.text


def test_pictures_end_after_so_many(video: Path) -> None:
    hits = [make_hit(video, (at, at)) for at in (0.0, 1.0, 0.0)]
    made = gallery.Thumbnails(hits, [], max_thumbnails=2)
    assert [made.of(hit) is not None for hit in hits] == [True, True, False]


def test_a_folder_that_is_not_there_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write .*missing/page.html"):
        write_gallery([result()], tmp_path / "missing" / "page.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_browser_opens_it_without_a_complaint_or_a_request(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "gallery.html"
    hits = [make_hit(video, relevance=1.5), make_hit(f"/videos/{HOSTILE}.mp4", rank=2)]
    write_gallery([result(*hits, query=HOSTILE)], path)
    opened = open_page(path.as_uri())
    assert opened.console == ()
    assert opened.requested == ()
    assert "alert(1)" in opened.dom and "no picture" in opened.dom
    assert opened.screenshot.startswith(b"\x89PNG")
