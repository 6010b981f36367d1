"""Kept frames: whole pictures, made small without other loss, for thumbnails, fine-tuning and any backbone.

They are WebP and say of themselves that they are whole. Those of older stores are what the encoder saw, cut by its
framing, WebP or JPEG (which gave names to tensors and parameters): they are read as ever, by backbones of that cut.
"""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.preprocessing import Box, Framing, Size, framing_of
from vtrcli.store.config import MALFORMED
from vtrcli.store.reader import FeatureStore, Location
from vtrcli.store.shard import Shard, are_valid_offsets, damaged, open_tensors, tensor_bytes

if TYPE_CHECKING:
    from PIL import Image

FRAMES_FORMAT = "vtr-frames"
# A file with whole pictures is of another version: who takes them for what the encoder saw would squash them.
CUT_VERSION, WHOLE_VERSION = 1, 2
FRAME_FOLDER = "frames"
IMAGE_FORMATS = ("WEBP", "JPEG")  # the only ones that an image of a store is opened as
# The last bytes of a whole picture, an XMP packet of even length: whoever copies the image copies it.
WHOLE_MARK = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:vtr="vtr:frames" vtr:shows="whole"/>'


@dataclass(frozen=True)
class FrameJpegs:
    """The kept frames of one video, in the order of its timestamps."""

    images: tuple[bytes, ...]

    @property
    def num_bytes(self) -> int:
        """Size of all images."""
        return sum(map(len, self.images))


def encode_whole(pixels: np.ndarray) -> bytes:
    """uint8 [height, width, 3] RGB of a whole picture -> lossless WebP that says so.

    Lossy ones differ at any quality by more than the scaling does (docs/experiments.md).
    """
    return _webp(pixels, xmp=WHOLE_MARK)


def encode_jpegs(pixels: np.ndarray) -> tuple[bytes, ...]:
    """uint8 [num_frames, height, width, 3] RGB, what an encoder saw -> one lossless WebP per frame, as older programs
    kept them."""
    return tuple(_webp(frame) for frame in pixels)


def _webp(pixels: np.ndarray, **said: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    # The fastest of its methods: 6 times as fast as the next one, files 10 % larger.
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=0, method=0, **said)
    return buffer.getvalue()


def is_whole(image: bytes) -> bool:
    """Whether a kept frame is a whole picture, and not what one encoder saw of it."""
    return image.endswith(WHOLE_MARK)


def open_frame(image: bytes) -> Image.Image:
    """A kept frame as a picture; OSError when it is none."""
    from PIL import Image

    return Image.open(io.BytesIO(image), formats=IMAGE_FORMATS)


def decode_frame(image: bytes, *, size: Size, part: Box | None = None) -> np.ndarray:
    """uint8 [height, width, 3] RGB: of a whole picture what a model of that size sees of it; of a frame that was cut
    already all of it, resized where it was kept at another size. OSError when it is no picture.

    `part`: of what is seen, in parts of its sides, brought to the size instead.
    """
    framing = framing_of(size)
    picture = open_frame(image).convert("RGB")
    everything: Box = (0.0, 0.0, picture.width, picture.height)
    seen = framing.seen(*picture.size) if is_whole(image) else everything
    if part is None and seen[2:] == picture.size == (framing.width, framing.height):
        return np.asarray(picture)
    if part is not None:
        seen = _within(seen, part)
    return np.asarray(framing.resized(picture, box=seen))


def _within(box: Box, part: Box) -> Box:
    """A part of a box, never beyond it by rounding."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return (
        left + part[0] * width,
        top + part[1] * height,
        min(right, left + part[2] * width),
        min(bottom, top + part[3] * height),
    )


def require_same_cut(store: FeatureStore, wanted: Framing, video_ids: Iterable[str] | None = None) -> None:
    """Raises StoreError when frames of videos (None: of all) were kept as an encoder saw them, and another framing
    would have shown another part of the picture or another shape. Whole pictures serve all."""
    kept = store.config.framing
    if kept.resize == wanted.resize and kept.height * wanted.width == kept.width * wanted.height:
        return
    chosen = set(store.videos if video_ids is None else video_ids)
    num_cut = 0
    for shard, locations in store.by_shard():
        path = store.path / FRAME_FOLDER / shard.path.name
        names = [at.record.video_id for at in locations if at.record.video_id in chosen]
        if names and path.exists():
            frames = FrameShard(path)
            num_cut += sum(name in frames and not frames.is_whole(name) for name in names)
    if num_cut:
        which = "" if num_cut == len(chosen) else f"of {num_cut:,} of {len(chosen):,} videos "
        raise StoreError(
            f"store {store.path} keeps frames {which}{_cut(kept)}, not {_cut(wanted)}",
            allowed="kept frames serve backbones that see the same part of a picture in the same shape",
            to_do="run `vtr extract --renew-frames` with the videos first: whole pictures serve any backbone; "
            "or extract with --backbone into a new store",
        )


def _cut(framing: Framing) -> str:
    how = {"crop": "cropped", "squash": "squashed"}[framing.resize]
    return f"{how} to {framing.width} x {framing.height}"


def frame_shard_bytes(kept: list[tuple[str, FrameJpegs, np.ndarray]]) -> bytes:
    """The bytes of a frame shard: (id, frames, timestamps) of those videos of the feature shard of its name that keep
    them, as `jpeg` uint8 [total_bytes], `byte_offsets` int64 [total_frames + 1], `offsets` int64 [num_videos + 1],
    `timestamps` float32 [total_frames]."""
    images = [image for _, video, _ in kept for image in video.images]
    tensors: dict[str, np.ndarray] = {
        "jpeg": np.frombuffer(b"".join(images), np.uint8),
        "byte_offsets": np.cumsum([0, *map(len, images)], dtype=np.int64),
        "offsets": np.cumsum([0, *(len(video.images) for _, video, _ in kept)], dtype=np.int64),
        "timestamps": np.concatenate([times for _, _, times in kept]).astype("<f4"),
    }
    version = WHOLE_VERSION if any(map(is_whole, images)) else CUT_VERSION
    videos = json.dumps([video_id for video_id, _, _ in kept])
    return tensor_bytes(tensors, FRAMES_FORMAT, {"version": str(version), "videos": videos})


class FrameShard:
    """An open frame shard; images are read one at a time.

    Raises:
        StoreError: damaged, of a newer format, or not a frame shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_tensors(
            path, file_format=FRAMES_FORMAT, called="a frame shard", newest=WHOLE_VERSION
        )
        try:
            names = json.loads(self._file.metadata["videos"])
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise TypeError("it is not a list of ids")
        except MALFORMED as cause:
            raise damaged(path, f"the video list cannot be read ({cause})") from cause
        self._numbers: dict[str, int] = {name: number for number, name in enumerate(names)}
        self._file.require("jpeg", "U8", (None,))
        (num_frames,) = self._file.require("timestamps", "F32", (None,))
        self._file.require("byte_offsets", "I64", (num_frames + 1,))
        self._file.require("offsets", "I64", (len(names) + 1,))

    def find_problem(self) -> str | None:
        """The first thing wrong in its tensors; reads all of them."""
        if problem := self._file.checksum_problem():
            return problem
        num_frames, num_bytes = self._file.shape("timestamps")[0], self._file.shape("jpeg")[0]
        if not are_valid_offsets(self._file.tensor("offsets"), num_frames):
            return "the offsets do not cut the frames into videos"
        if not are_valid_offsets(self._file.tensor("byte_offsets"), num_bytes):
            return "the byte offsets do not cut the bytes into frames"
        return None

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._numbers

    def num_bytes(self, video_id: str) -> int:
        """Size of one video's images; KeyError when it is not in this shard."""
        number = self._numbers[video_id]
        start, stop = self._file.rows("offsets")[number : number + 2].tolist()
        places = self._file.rows("byte_offsets")
        return int(places[stop]) - int(places[start])

    def is_whole(self, video_id: str) -> bool:
        """Whether one video's frames are whole pictures; KeyError when it is not in this shard."""
        start = int(self._file.rows("offsets")[self._numbers[video_id]])
        end = int(self._file.rows("byte_offsets")[start + 1])
        return is_whole(self._file.rows("jpeg")[max(0, end - len(WHOLE_MARK)) : end].tobytes())

    def whole_size(self, video_id: str) -> tuple[int, int] | None:
        """(width, height) of a video's first whole picture, by its header; None for frames that were cut. Raises as
        `is_whole`."""
        if not self.is_whole(video_id):
            return None
        start = int(self._file.rows("byte_offsets")[int(self._file.rows("offsets")[self._numbers[video_id]])])
        # WebP's extended header, which a picture with metadata has: 24 bits each, less one, at 24 and 27.
        header = self._file.rows("jpeg")[start : start + 30].tobytes()
        return 1 + int.from_bytes(header[24:27], "little"), 1 + int.from_bytes(header[27:30], "little")

    def image(self, video_id: str, number: int) -> bytes:
        """One encoded image of a video; KeyError when the video is not in this shard, IndexError when it has fewer."""
        start, stop = self._file.rows("offsets")[self._numbers[video_id] :][:2].tolist()
        if not 0 <= number < stop - start:
            raise IndexError(number)
        left, right = self._file.rows("byte_offsets")[start + number :][:2].tolist()
        return self._file.rows("jpeg")[left:right].tobytes()

    def images(self, video_id: str) -> list[bytes]:
        """The encoded images of one video's frames; KeyError when it is not in this shard."""
        number = self._numbers[video_id]
        start, stop = self._file.rows("offsets")[number : number + 2].tolist()
        offsets = self._file.rows("byte_offsets")[start : stop + 1].tolist()
        data = self._file.rows("jpeg")
        return [data[left:right].tobytes() for left, right in itertools.pairwise(offsets)]


def frame_paths(store: Path) -> list[Path]:
    """The frame shards of a store."""
    return sorted((store / FRAME_FOLDER).glob("[!.]*.safetensors"))


def frames_of(store: Path, shard: Shard, location: Location) -> list[bytes] | None:
    """Kept frames that belong to a video's current features; None where none were kept."""
    path = store / FRAME_FOLDER / shard.path.name
    if not path.exists() and not shard.path.exists():  # `vtr store compact` put them elsewhere meanwhile
        now = FeatureStore(store)
        current = now.videos.get(location.record.video_id)
        if current is None or current.record.extracted_at != location.record.extracted_at:
            return None
        path = store / FRAME_FOLDER / now.shards[current.shard].path.name
    if not path.exists():
        return None
    shard_of_frames = FrameShard(path)
    video_id = location.record.video_id
    return shard_of_frames.images(video_id) if video_id in shard_of_frames else None


@dataclass(frozen=True, kw_only=True)
class KeptKinds:
    """Which current videos keep frames, and of what kind: `missing` none, `cut` what one encoder saw, by an older
    program, `whole` whole pictures, with the (width, height) of the first."""

    missing: set[str]
    cut: set[str]
    whole: dict[str, tuple[int, int]]

    @property
    def short_sides(self) -> dict[int, int]:
        """Short side of the whole pictures in pixels -> number of videos; small to large."""
        return dict(sorted(Counter(map(min, self.whole.values())).items()))

    def outdated(self, store: FeatureStore, *, size: int) -> set[str]:
        """Videos whose frames are cut, or smaller than the short side `size` that the video has."""
        smaller = set()
        if store.config.aspect == "display":  # else a record does not tell the stored size
            for video_id, sides in self.whole.items():
                record = store.videos[video_id].record
                if min(sides) < min(size, record.width, record.height):
                    smaller.add(video_id)
        return self.cut | smaller


def kept_frames(store: FeatureStore) -> KeptKinds:
    """Of all current videos; opens headers, and reads a few bytes of one picture per video."""
    found = KeptKinds(missing=set(), cut=set(), whole={})
    for shard, locations in store.by_shard():
        path = store.path / FRAME_FOLDER / shard.path.name
        frames = FrameShard(path) if path.exists() else None
        for video_id in (at.record.video_id for at in locations):
            if frames is None or video_id not in frames:
                found.missing.add(video_id)
            elif size := frames.whole_size(video_id):
                found.whole[video_id] = size
            else:
                found.cut.add(video_id)
    return found
