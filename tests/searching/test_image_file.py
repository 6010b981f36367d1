"""A picture is read upright and cut as CLIP does; what is no picture is one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtrcli.errors import InputError
from vtrcli.searching import image_file
from vtrcli.searching.image_file import read_image


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
    monkeypatch.setattr(image_file, "MAX_PIXELS", 9_999)
    with pytest.raises(InputError, match="it has 100 x 100 pixels"):
        read_image(tmp_path / "large.png", size=8)
