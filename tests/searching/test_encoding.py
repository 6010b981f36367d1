"""Vectors of queries are kept; pictures of users are read whatever they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtrcli.errors import InputError
from vtrcli.searching import encoding
from vtrcli.searching.encoding import QueryCache, cache_folder, read_image

VECTOR = np.arange(4, dtype=np.float32) / 3


def cache(store: Path, model_id: str = "one", width: int = 4) -> QueryCache:
    return QueryCache(cache_folder(store), model_id=model_id, width=width)


def test_what_was_put_is_got_back_by_text_and_model(tmp_path: Path) -> None:
    cache(tmp_path).put("a dog 🐕 \udce9", VECTOR, was_cut=True)
    vector, was_cut = cache(tmp_path).get("a dog 🐕 \udce9") or (None, None)
    assert vector is not None and vector.tolist() == VECTOR.tolist() and was_cut is True
    assert cache(tmp_path).get("a dog") is None
    assert cache(tmp_path, model_id="two").get("a dog 🐕 \udce9") is None
    assert cache(tmp_path, width=5).get("a dog 🐕 \udce9") is None


@pytest.mark.parametrize("where", [0, 9, -1, -9])
def test_a_damaged_file_is_as_if_it_was_not_there(tmp_path: Path, where: int) -> None:
    cache(tmp_path).put("a dog", VECTOR, was_cut=False)
    (path,) = (tmp_path / "index" / "queries").iterdir()
    body = bytearray(path.read_bytes())
    body[where] ^= 0xFF
    path.write_bytes(body)
    assert cache(tmp_path).get("a dog") is None


def test_vectors_that_are_not_finite_are_not_used(tmp_path: Path) -> None:
    cache(tmp_path).put("a dog", VECTOR * np.nan, was_cut=False)
    assert cache(tmp_path).get("a dog") is None


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MAX_QUERIES", 8)
    for number in range(12):
        cache(tmp_path).put(str(number), VECTOR, was_cut=False)
    assert cache(tmp_path).get("11") is not None
    assert len(list((tmp_path / "index" / "queries").iterdir())) <= 8


def test_nothing_is_deleted_through_a_link_that_leads_out_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "MAX_QUERIES", 2)
    store, away = tmp_path / "store", tmp_path / "away"
    (store / "index").mkdir(parents=True)
    away.mkdir()
    for number in range(5):
        (away / f"{number}.safetensors").touch()
    (store / "index" / "queries").symlink_to(away)
    cache(store).put("a dog", VECTOR, was_cut=False)
    assert len(list(away.iterdir())) == 5


def test_a_store_that_cannot_be_written_keeps_nothing_and_complains_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("not a folder")
    cache(tmp_path).put("a dog", VECTOR, was_cut=False)
    assert cache(tmp_path).get("a dog") is None


def test_the_centre_is_cut_out_of_a_wide_picture(tmp_path: Path) -> None:
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    read = read_image(tmp_path / "wide.png", size=20)
    assert read.shape == (20, 20, 3) and read.dtype == np.uint8
    np.testing.assert_allclose(read[:, 3:-3].mean(axis=(0, 1)), (200, 100, 50), atol=3)


def test_a_rotated_photo_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[:30] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif)
    read = read_image(tmp_path / "photo.jpg", size=16)
    assert read[:6].mean() < 30 and read[-6:].mean() > 220


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_any_kind_of_pixels_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    Image.new(mode, (30, 30)).save(path)
    assert read_image(path, size=8).shape == (8, 8, 3)


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50), b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_picture_is_one_clear_line(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "no.png"
    path.write_bytes(body)
    with pytest.raises(InputError) as caught:
        read_image(path, size=8)
    assert str(caught.value).startswith(f"{path} cannot be used as an image: ")
    assert caught.value.allowed == (
        "a picture (JPEG, PNG, WEBP, GIF, BMP, TIFF) of at most 134 million pixels"
    )


def test_a_missing_or_cut_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no.png cannot be used as an image: No such file"):
        read_image(tmp_path / "no.png", size=8)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (99, 99, 3), np.uint8)).save(tmp_path / "cut.jpg")
    body = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(body[: len(body) // 2])
    with pytest.raises(InputError, match="cut.jpg cannot be used as an image: "):
        read_image(tmp_path / "cut.jpg", size=8)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "large.png")
    monkeypatch.setattr(encoding, "MAX_PIXELS", 9_999)
    with pytest.raises(InputError, match="it has 100 x 100 pixels"):
        read_image(tmp_path / "large.png", size=8)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_grey_of_16_bits_keeps_its_shades(tmp_path: Path, suffix: str) -> None:
    shades = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None], 64, axis=0)
    Image.fromarray(shades).save(tmp_path / f"scan.{suffix}")
    Image.fromarray((shades // 257).astype(np.uint8)).save(tmp_path / "eight.png")
    found, expected = (read_image(tmp_path / name, size=32) for name in (f"scan.{suffix}", "eight.png"))
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_numbers_of_another_scale_use_their_whole_range(tmp_path: Path) -> None:
    heights = np.repeat(np.linspace(-300.0, 9000.0, 32, dtype=np.float32)[None], 32, axis=0)
    Image.fromarray(heights).save(tmp_path / "heights.tiff")
    read = read_image(tmp_path / "heights.tiff", size=32)[16, :, 0]
    assert read[0] == 0 and read[-1] == 255 and abs(int(read[16]) - 132) < 6


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16"])
def test_a_large_picture_looks_like_the_same_picture_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    rows, columns = np.mgrid[0:300, 0:420]
    pixels = np.stack([rows * 255 // 300, columns * 255 // 420, (rows + columns) % 256], axis=-1).astype(
        np.uint8
    )
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "large.png", exif=exif)
    expected = read_image(tmp_path / "large.png", size=16).astype(int)
    monkeypatch.setattr(encoding, "REDUCED_SIDE", 64)
    assert np.abs(read_image(tmp_path / "large.png", size=16).astype(int) - expected).mean() < 3


def test_a_picture_of_any_size_fits(tmp_path: Path) -> None:
    for height in (225, 449, 1800):  # height / 224 x 224 is a little more than 1800
        Image.new("RGB", (2 * height, height), (200, 100, 50)).save(tmp_path / "wide.png")
        assert read_image(tmp_path / "wide.png", size=224)[112, 112].tolist() == [200, 100, 50]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jpg", "png", "png of 16 bits"])
def test_108_million_pixels_fit_into_little_more_than_the_picture(tmp_path: Path, kind: str) -> None:
    name, mode = f"photo.{kind[:3]}", "I;16" if "16" in kind else "RGB"
    Image.new(mode, (12_000, 9_000), 40_000 if mode == "I;16" else (200, 100, 50)).save(
        tmp_path / name, **({"compress_level": 1} if kind != "jpg" else {})
    )
    code = (
        "import resource, sys; from pathlib import Path; from vtrcli.searching.encoding import read_image; "
        "read_image(Path(sys.argv[1]), size=8); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "print(read_image(Path(sys.argv[2]), size=224).mean(axis=(0, 1)).round().tolist(), "
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    Image.new("RGB", (9, 9)).save(tmp_path / "small.png")
    arguments = [str(tmp_path / "small.png"), str(tmp_path / name)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    color, _, grown = done.stdout.rpartition(" ")
    assert color == ("[156.0, 156.0, 156.0]" if mode == "I;16" else "[200.0, 100.0, 50.0]")
    assert int(grown) * (1 if sys.platform == "darwin" else 1024) < 6 * 108_000_000
