"""Pictures to search by: what is one, what is refused, and that a search by an upload is a search by the file."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import vtrcli as vtr
from vtrcli.errors import InputError, NotFoundError
from vtrcli.preprocessing import Framing
from vtrcli.searching.encoding import read_image
from vtrcli.serve import images as module
from vtrcli.serve import picture
from vtrcli.serve.images import Images

SIZES = (
    Framing(height=32, width=32),
    Framing(height=24, width=40, resize="squash", interpolation="bilinear"),
)


@pytest.fixture
def images() -> Iterator[Images]:
    made = Images(lambda: SIZES, max_images=2)
    yield made
    made.close()
    assert not made.folder.exists()


def photo(kind: str = "JPEG", *, size: tuple[int, int] = (300, 200), **options: object) -> bytes:
    """A gradient with noise, in a format."""
    noise = np.random.default_rng(3).integers(0, 60, (*size[::-1], 3))
    ramp = np.linspace(0, 190, size[0])[None, :, None]
    buffer = io.BytesIO()
    Image.fromarray((noise + ramp).astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, body: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


HOSTILE = {
    "nothing": b"",
    "a bomb": png(60_000, 60_000, zlib.compress(b"\0" * 1_000_000)),
    "truncated": photo()[:5000],
    "truncated PNG": photo("PNG")[:-100],
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><image href="file:///etc/passwd"/></svg>',
    "HTML": b"<!doctype html><img src=x onerror=alert(1)>",
    "a pickle": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00cposix\nsystem\n",
    "PDF": b"%PDF-1.4\n1 0 obj<<>>endobj",
    "EPS, which starts a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%touch /tmp/x)(w)file",
    "a playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "a video": b"\0\0\0\x18ftypisom" + bytes(100),
    "a header alone": b"\x89PNG\r\n\x1a\n",
    "ICO": b"\0\0\1\0" + bytes(64),
    "WebP with a lie": b"RIFF\xff\xff\xff\x7fWEBPVP8L" + bytes(30),
    "TIFF that points outside": b"II*\0\xff\xff\xff\x7f" + bytes(30),
}


@pytest.mark.slow
def test_an_upload_is_in_the_towers_sizes_what_the_file_is_for_vtr_search(
    images: Images, tmp_path: Path
) -> None:
    for kind, options in (
        ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"}),
        ("PNG", {}),
    ):
        body = photo(kind, size=(1500, 900), **options)
        (tmp_path / "a").write_bytes(body)
        image = images.add(body)
        assert image == hashlib.sha256(body).hexdigest()[:32] == images.add(body)
        for size in SIZES:
            ours = read_image(images.file(image, size), size=size)
            assert np.array_equal(ours, read_image(tmp_path / "a", size=size))
    # What was sent is not kept, and nobody else may look.
    assert sorted({path.suffix for path in images.folder.iterdir()}) == [".bmp"]
    assert images.folder.stat().st_mode & 0o777 == 0o700


def test_what_a_picture_hides_is_refused_in_three_parts(images: Images) -> None:
    with pytest.raises(InputError) as caught:
        images.add(HOSTILE["SVG"])
    assert str(caught.value) == (
        "what was sent cannot be used as a picture: cannot identify image file; one picture (JPEG, PNG, WEBP, GIF, "
        "BMP, TIFF); convert it to PNG or JPEG, or make it smaller"
    )
    assert list(images.folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("what", HOSTILE)
def test_no_hostile_picture_is_taken(images: Images, what: str) -> None:
    with pytest.raises(InputError, match="cannot be used as a picture") as caught:
        images.add(HOSTILE[what])
    assert str(images.folder) not in str(caught.value)
    assert list(images.folder.iterdir()) == []


def test_of_a_picture_that_is_something_else_too_only_pixels_stay(images: Images) -> None:
    """A GIF that is a script as well is a picture; no byte of the script is ever sent back."""
    gif = photo("GIF", size=(20, 20)) + b"/*<script>alert(1)</script>*/"
    kept = images.file(images.add(gif), SIZES[0]).read_bytes()
    assert b"script" not in kept and kept[:2] == b"BM"


def test_a_decoder_that_does_not_end_is_ended(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "SECONDS", 0.3)
    monkeypatch.setattr(picture, "_CODE", "import time; time.sleep(60)")
    with pytest.raises(InputError, match=r"it takes more than 0\.3 s"):
        images.add(photo())


def test_a_decoder_that_wants_all_memory_or_breaks_down_is_a_refusal(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("x = bytearray(3 << 30)", "import os; os.abort()"):
        monkeypatch.setattr(picture, "_CODE", code)
        with pytest.raises(InputError, match="its decoder gave up"):
            images.add(photo())


def test_pictures_are_few_and_are_forgotten(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(body: bytes) -> str:
        return images.add(body)

    fake = [np.zeros(size.shape, np.uint8) for size in SIZES]
    monkeypatch.setattr(module, "decoded", lambda file, framings: fake)  # three children less
    first, second = add(b"1"), add(b"2")
    images.file(first, SIZES[0])  # used again, it stays
    third = add(b"3")
    assert images.file(first, SIZES[0]) and images.file(third, SIZES[1])
    with pytest.raises(NotFoundError) as caught:
        images.file(second, SIZES[0])
    assert str(caught.value) == (
        f"no picture '{second}'; what POST /api/images answered, for 4 hours after its last use; "
        "send the picture again"
    )
    assert len(list(images.folder.iterdir())) == 4
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.MAX_AGE_SECONDS + 1)
    with pytest.raises(NotFoundError):
        images.file(first, SIZES[0])
    assert list(images.folder.iterdir()) == []


def test_a_store_that_is_there_only_later_gets_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def blank(file: Path, framings: Sequence[Framing]) -> list[np.ndarray]:
        return [np.zeros(size.shape, np.uint8) for size in framings]

    monkeypatch.setattr(module, "decoded", blank)
    wanted: list[Framing] = []
    images = Images(lambda: wanted)
    image = images.add(b"1")
    wanted += SIZES
    with pytest.raises(NotFoundError, match="send the picture again"):
        images.file(image, SIZES[1])
    assert images.add(b"1") == image
    assert all(images.file(image, size).is_file() for size in SIZES)
    images.close()


@pytest.mark.parametrize("image", ["../../etc/passwd", "..%2f", "\0", "a/b", "", "é" * 100, "*"])
def test_an_id_is_no_path(images: Images, image: str) -> None:
    with pytest.raises(NotFoundError):
        images.file(image, SIZES[0])


def test_a_search_by_an_upload_is_one_by_the_file(client: TestClient, demo: Path, tmp_path: Path) -> None:
    body = photo("PNG", size=(320, 240))
    (tmp_path / "a.png").write_bytes(body)
    sent = client.post("/api/images", content=body)
    assert sent.status_code == 200, sent.text
    image = sent.json()["image"]
    found = client.get("/api/search", params={"image": image, "q": "a red circle", "top_k": 5}).json()
    query = vtr.Query(text="a red circle", images=(tmp_path / "a.png",))
    alone = vtr.search(query, demo / "store", top_k=5, device="cpu").to_json()
    rows = [(row["video_id"], row["score"]) for row in found["results"]]
    assert rows == [(row["video_id"], row["score"]) for row in alone["results"]]
    assert found["query"] == f"a red circle + image {image}"
    refused = client.post("/api/images", content=HOSTILE["SVG"])
    assert refused.status_code == 400 and refused.json()["error"]["allowed"].startswith("one picture")
    assert client.get("/api/search", params={"image": "../../etc/passwd"}).status_code == 404
    too_large = client.post("/api/images", content=bytes(module.MAX_UPLOAD_BYTES + 1))
    assert too_large.status_code == 413 and "33,554,432" in too_large.json()["error"]["came_in"]
