"""The picture: size rule and scaling like Pillow's, colours, rotation, pixel shape; and what ffmpeg may open."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.video.clips import make_video, read, run_ffmpeg
from vtrcli.preprocessing import Framing
from vtrcli.store.frames import encode_whole, open_frame
from vtrcli.video import graph
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Uniform

ONE = Uniform(num_frames=1)


def full_frame(path: Path, width: int, height: int) -> Image.Image:
    exact = "scale=flags=bicubic+accurate_rnd+full_chroma_int"
    command = [
        ffmpeg_binary(),
        "-v",
        "error",
        "-i",
        str(path),
        "-frames:v",
        "1",
        "-vf",
        exact,
        "-f",
        "rawvideo",
    ]
    done = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], check=True, capture_output=True)
    return Image.frombytes("RGB", (width, height), done.stdout)


def as_torchvision(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize(size, BICUBIC) + CenterCrop(size) as torchvision defines them on PIL images."""
    short, long = sorted(image.size)
    other = int(size * long / short)
    width, height = (size, other) if image.width <= image.height else (other, size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize(("width", "height"), [(320, 240), (240, 426), (101, 77), (32, 32), (853, 480)])
@pytest.mark.parametrize("size", [64, 224])
def test_scaling_is_that_of_pillow(tmp_path: Path, width: int, height: int, size: int) -> None:
    source = f"testsrc2=size=640x480:rate=5:duration=0.2,scale={width}:{height},setsar=1"
    clip = make_video(tmp_path / "a.mkv", source, "-pix_fmt", "yuv444p", "-qp", "10")
    ours = read(clip, ONE, size=size).pixels[0].astype(float)
    pillow = as_torchvision(full_frame(clip, width, height), size).astype(float)
    assert np.abs(ours - pillow).mean() < 1.0


def as_framed(image: Image.Image, framing: Framing) -> NDArray[np.uint8]:
    """Resize + CenterCrop, or Resize((height, width)), as open_clip's own transforms do them on PIL images."""
    method = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[
        framing.interpolation
    ]
    size = framing.width, framing.height
    if framing.resize == "squash":
        return np.asarray(image.resize(size, method))
    factor = max(framing.width / image.width, framing.height / image.height)
    resized = image.resize((round(image.width * factor), round(image.height * factor)), method)
    left, top = round((resized.width - size[0]) / 2.0), round((resized.height - size[1]) / 2.0)
    return np.asarray(resized.crop((left, top, left + size[0], top + size[1])))


@pytest.mark.parametrize(("width", "height"), [(320, 240), (240, 426), (853, 480), (40, 64)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("resize", "high", "wide"), [("squash", 224, 224), ("squash", 48, 80), ("crop", 48, 80)]
)
def test_squashing_bilinear_and_sizes_that_are_no_squares_are_those_of_pillow(
    tmp_path: Path, width: int, height: int, interpolation: str, resize: str, high: int, wide: int
) -> None:
    source = f"testsrc2=size=640x480:rate=5:duration=0.2,scale={width}:{height},setsar=1"
    clip = make_video(tmp_path / "a.mkv", source, "-pix_fmt", "yuv444p", "-qp", "10")
    framing = Framing(height=high, width=wide, resize=resize, interpolation=interpolation)  # type: ignore[arg-type]
    ours = read(clip, ONE, size=framing).pixels[0].astype(float)
    full = full_frame(clip, width, height)
    assert ours.shape == (high, wide, 3)
    assert np.abs(ours - as_framed(full, framing)).mean() < 1.0
    if resize == "squash":  # what an image query gets
        assert np.abs(ours - np.asarray(framing.fitted(full))).mean() < 1.0


def test_a_very_wide_picture_is_squashed_whole(tmp_path: Path) -> None:
    source = "color=black:size=640x16:rate=5:duration=0.2,drawbox=w=64:h=16:c=white:t=fill,setsar=1"
    clip = make_video(tmp_path / "wide.mp4", source)
    squashed = read(clip, ONE, size=Framing(height=20, width=40, resize="squash")).pixels[0]
    assert squashed[:, :3].min() > 200 and squashed[:, 6:].max() < 40


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (["-colorspace", "bt709"], 6),
        (["-colorspace", "smpte170m"], 6),
        (["-colorspace", "bt709", "-color_range", "pc"], 6),
    ],
)
def test_matrix_and_range_are_honoured(tmp_path: Path, options: list[str], tolerance: int) -> None:
    matrix = options[1]
    full = "full" if "pc" in options else "limited"
    source = f"color=0xc04020:size=64x64:rate=5:duration=0.2,scale=out_color_matrix={matrix}:out_range={full}"
    clip = make_video(tmp_path / "a.mp4", source + ",format=yuv420p", "-qp", "1", *options)
    color = read(clip, ONE).pixels[0].mean(axis=(0, 1))
    assert color == pytest.approx([0xC0, 0x40, 0x20], abs=tolerance)


def test_a_large_picture_without_a_matrix_is_taken_as_bt709(tmp_path: Path) -> None:
    source = "color=0xc04020:size=1280x720:rate=5:duration=0.2,scale=out_color_matrix=bt709,format=yuv420p"
    clip = make_video(tmp_path / "a.mp4", source, "-colorspace", "unknown")
    assert read(clip, ONE).pixels[0].mean(axis=(0, 1)) == pytest.approx([0xC0, 0x40, 0x20], abs=6)


def test_rotation_is_applied(tmp_path: Path) -> None:
    flat = make_video(
        tmp_path / "flat.mp4", "color=black:size=64x64:duration=1,drawbox=w=32:h=64:c=white:t=fill"
    )
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "-90", "-i", str(flat), "-c", "copy", str(turned))
    picture = read(turned, ONE, size=64).pixels[0].mean(axis=2)
    assert picture[:28].mean() > 240 and picture[36:].mean() < 15  # what was left is now on top


def test_pixels_become_square(tmp_path: Path) -> None:
    # twice as wide on display: the white middle half of the stored picture is the whole centre crop
    source = "color=black:size=64x64:duration=0.2,drawbox=x=16:w=32:h=64:c=white:t=fill,setsar=2/1"
    clip = make_video(tmp_path / "a.mp4", source)
    assert read(clip, ONE, size=64).pixels[0, :, 4:-4].mean() > 240


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p", "yuv444p", "gray", "rgb24"])
def test_any_depth_and_layout_shows_the_same_grey(tmp_path: Path, pixel_format: str) -> None:
    clip = make_video(
        tmp_path / "a.mkv", "color=0x808080:size=33x31:duration=0.2", "-c:v", "ffv1", "-pix_fmt", pixel_format
    )
    assert read(clip, ONE).pixels.mean() == pytest.approx(128, abs=2)


def test_hdr_is_tone_mapped(tmp_path: Path) -> None:
    # PQ: 10-bit code 573 is 203 cd/m2, the white of a page; shown as it stands it is grey
    tags = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc"
    source = "color=black:size=64x64:rate=5:duration=0.2,format=yuv420p10le,geq=lum=573:cb=512:cr=512"
    clip = make_video(tmp_path / "a.mkv", f"{source},{tags}", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le")
    mapped = read(clip, ONE).pixels[0]
    plain = read(
        make_video(tmp_path / "b.mkv", source, "-c:v", "ffv1", "-pix_fmt", "yuv420p10le"), ONE
    ).pixels[0]
    assert plain.mean() == pytest.approx(148, abs=2)
    assert mapped.mean() == pytest.approx(227, abs=2) and np.ptp(mapped) <= 2


@pytest.mark.parametrize(("width", "height"), [(4000, 2), (2, 4000), (2, 2)])
def test_extreme_shapes(tmp_path: Path, width: int, height: int) -> None:
    clip = make_video(tmp_path / "a.mp4", f"color=white:size={width}x{height}:duration=0.2")
    pixels = read(clip, ONE, size=224).pixels
    assert pixels.shape == (1, 224, 224, 3) and pixels.mean() > 240


@pytest.mark.parametrize(("width", "height"), [(4000, 1), (1, 4000), (1, 1)])
def test_one_pixel_wide(tmp_path: Path, width: int, height: int) -> None:
    source = f"color=white:size={width}x{height}:duration=0.2"
    clip = make_video(tmp_path / "a.mkv", source, "-c:v", "png", "-pix_fmt", "rgb24")
    assert read(clip, ONE, size=224).pixels.mean() > 250


def kept_beside(path: Path, size: Framing, aspect: graph.Aspect = "display") -> NDArray[np.uint8]:
    """The whole picture of the first frame, short side at most 96; what the model sees must be the same without it."""
    whole: list[NDArray[np.uint8]] = []

    def encode(pixels: NDArray[np.uint8]) -> bytes:
        whole.append(pixels)
        return b"kept"

    keeping = graph.Keeping(size=96, encode=encode)
    with open_video(path, ONE, size=size, aspect=aspect, keeping=keeping) as reader:
        (batch,) = reader
    with open_video(path, ONE, size=size, aspect=aspect) as reader:
        (alone,) = reader
    assert (batch.pixels == alone.pixels).all() and (batch.timestamps == alone.timestamps).all()
    assert (batch.kept, alone.kept) == ((b"kept",), ())
    return whole[0]


CROPPED, SQUASHED = Framing(height=64, width=64), Framing(height=32, width=160, resize="squash")


@pytest.mark.parametrize("framing", [CROPPED, SQUASHED])
@pytest.mark.parametrize(
    ("width", "height", "kept"),
    [
        (320, 240, (128, 96)),
        (240, 426, (96, 170)),
        (853, 480, (171, 96)),
        (100, 60, (100, 60)),
        (6, 8, (6, 8)),
    ],
)
def test_whole_pictures_are_those_of_pillow_beside_what_the_model_sees(
    tmp_path: Path, width: int, height: int, kept: tuple[int, int], framing: Framing
) -> None:
    source = f"testsrc2=size=640x480:rate=5:duration=0.2,scale={width}:{height},setsar=1"
    clip = make_video(tmp_path / "a.mkv", source, "-pix_fmt", "yuv444p", "-qp", "10")
    ours = kept_beside(clip, framing)
    pillow = full_frame(clip, width, height).resize(kept, Image.Resampling.BICUBIC)
    assert ours.shape[1::-1] == kept
    assert np.abs(ours.astype(float) - np.asarray(pillow)).mean() < 1.0


def test_whole_pictures_have_the_shape_that_players_show(tmp_path: Path) -> None:
    wide = make_video(tmp_path / "a.mp4", "testsrc2=size=320x240:duration=0.2,setsar=2/1")
    assert kept_beside(wide, CROPPED).shape == (96, 256, 3)
    assert kept_beside(wide, CROPPED, "pixels").shape == (96, 128, 3)
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "-90", "-i", str(wide), "-c", "copy", str(turned))
    assert kept_beside(turned, CROPPED).shape == (256, 96, 3)
    assert kept_beside(turned, CROPPED, "pixels").shape == (128, 96, 3)
    for size, kept in (("4000x2", (2, 16, 3)), ("2x4000", (16, 2, 3)), ("3200x200", (96, 768, 3))):
        clip = make_video(tmp_path / f"{size}.mp4", f"color=white:size={size}:duration=0.2")
        picture = kept_beside(clip, CROPPED)
        assert picture.shape == kept and picture.mean() > 240


def test_ffmpeg_itself_refuses_lists(tmp_path: Path) -> None:
    make_video(tmp_path / "real.mp4", "color=white:size=32x32:duration=0.2")
    listing = tmp_path / "list.mp4"
    listing.write_text("ffconcat version 1.0\nfile real.mp4\n")
    done = subprocess.run(graph.probe_command(listing), capture_output=True)
    assert b"not on whitelist" in done.stderr and b"Stream #0" not in done.stderr


def test_a_path_is_never_an_option_or_a_protocol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert graph.url("-y.mp4") == f"file:{tmp_path}/-y.mp4"
    assert graph.url("http://host/a.mp4") == f"file:{tmp_path}/http:/host/a.mp4"
    assert graph.url("concat:a|b") == f"file:{tmp_path}/concat:a|b"


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (201, 117), (64, 64), (640, 360)])
def test_a_picture_is_cropped_where_the_decoder_crops(size: tuple[int, int], tmp_path: Path) -> None:
    """To the pixel: torchvision rounds the offset of the middle, and half a pixel of 32 is seen in a feature."""
    width, height = size
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    for framing in (Framing(height=32, width=32), Framing(height=24, width=40)):
        is_tall = width * framing.height < height * framing.width
        longer = framing.width * height / width if is_tall else framing.height * width / height
        longer = int(longer) if framing.height == framing.width else round(longer)
        whole = (framing.width, longer) if is_tall else (longer, framing.height)
        left, top = round((whole[0] - framing.width) / 2), round((whole[1] - framing.height) / 2)
        box = (left, top, left + framing.width, top + framing.height)
        expected = picture.resize(whole, Image.Resampling.BICUBIC).crop(box)
        difference = np.abs(np.asarray(framing.fitted(picture), int) - np.asarray(expected, int))
        assert difference.max() <= 1


def test_a_kept_picture_keeps_its_own_shape_when_the_video_changes_it(tmp_path: Path) -> None:
    """A broadcast from 4:3 to 2:3: every kept picture is what the model sees of it, made larger."""
    joined, framing = tmp_path / "joined.ts", Framing(height=32, width=32)
    for number, size in enumerate(("160x120", "80x120", "160x120")):
        part, offset = tmp_path / f"{number}.ts", ("-output_ts_offset", str(number))
        make_video(
            part, f"testsrc2=size={size}:rate=10:duration=1", *offset, "-c:v", "mpeg2video", "-q:v", "2"
        )
        with open(joined, "ab") as file:
            file.write(part.read_bytes())
    keeping = graph.Keeping(size=96, encode=encode_whole)
    with open_video(joined, Uniform(num_frames=3), size=framing, keeping=keeping) as reader:
        (batch,) = reader
    assert (batch.pixels == read(joined, Uniform(num_frames=3), size=32).pixels).all()
    kept = [open_frame(image).convert("RGB") for image in batch.kept]
    assert [picture.size for picture in kept] == [(128, 96), (64, 96), (128, 96)]
    for picture, seen in zip(kept, batch.pixels.astype(float), strict=True):
        assert np.abs(np.asarray(framing.fitted(picture)) - seen).mean() < 6  # 60 where it was stretched
