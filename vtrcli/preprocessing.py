"""What is done to a picture before an image tower sees it: told once, by the backbone, for decoder, store and queries.

The decoder brings frames to their size (`vtrcli.video.graph`), `Framing.fitted` a picture that is at hand; scaling and
normalising is left to the tower. Imports nothing heavy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import Image

Resize = Literal["crop", "squash"]
Box = tuple[float, float, float, float]  # left, top, right, bottom
Interpolation = Literal["bicubic", "bilinear"]
KEEP_SIZE = 384  # short side of kept frames in pixels: that of the largest inputs in wide use
_WORDS = {
    "crop": {"resize": "shorter side to the input size", "crop": "center"},
    "squash": {"resize": "both sides to the input size", "crop": "none"},
}


@dataclass(frozen=True, kw_only=True)
class Framing:
    """The size that a picture gets, and how: `crop` cuts out the middle of it, `squash` keeps all but its shape."""

    height: int
    width: int
    resize: Resize = "crop"
    interpolation: Interpolation = "bicubic"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the pixels: (height, width, 3)."""
        return self.height, self.width, 3

    @property
    def words(self) -> str:
        """`squash 384 bilinear`, `crop 224 x 336 bicubic` (height x width)."""
        size = str(self.height) if self.height == self.width else f"{self.height} x {self.width}"
        return f"{self.resize} {size} {self.interpolation}"

    @property
    def num_bytes(self) -> int:
        """Of one picture."""
        return self.height * self.width * 3

    def resized(self, picture: Image.Image, *, box: Box | None = None) -> Image.Image:
        """A picture, or the part of it in `box`, brought to the size as it is, whatever its shape."""
        from PIL import Image

        method = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
        return picture.resize((self.width, self.height), method[self.interpolation], box=box)

    def fitted(self, picture: Image.Image) -> Image.Image:
        """A whole picture as the decoder would have brought a frame of it."""
        return self.resized(picture, box=self.seen(*picture.size))

    def seen(self, width: float, height: float) -> Box:
        """The part of a whole picture of that size that is seen, in its pixels: the decoder's, to the pixel."""
        if self.resize == "squash":
            return 0.0, 0.0, width, height
        is_tall = width * self.height < height * self.width
        scaled = self.width * height / width if is_tall else self.height * width / height
        # Whole pixels, as torchvision makes them of squares and open_clip of other shapes; the offset half to even.
        longer = math.floor(scaled + (0.0 if self.height == self.width else 0.5))
        wide, high = (self.width, longer) if is_tall else (longer, self.height)
        left, top = round((wide - self.width) / 2), round((high - self.height) / 2)
        # Rounding must not reach beyond the picture: 1800 / 224 x 224 is more than 1800.
        return (
            left * width / wide,
            top * height / high,
            min(width, (left + self.width) * width / wide),
            min(height, (top + self.height) * height / high),
        )


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Framing):
    """All that is done to a picture: 0 and 255 become the ends of `value_range`, then per channel of RGB
    (value - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    value_range: tuple[float, float] = (0.0, 1.0)

    def to_json(self) -> dict[str, Any]:
        """In the words of `store.json`, where the size stands with the backbone."""
        words = _WORDS[self.resize]
        body: dict[str, Any] = {
            "resize": f"{self.interpolation}, {words['resize']}",
            "crop": words["crop"],
            "mean": list(self.mean),
            "std": list(self.std),
        }
        return body if self.value_range == (0.0, 1.0) else {**body, "value_range": list(self.value_range)}


Size = int | Framing  # a number of pixels: squares of it, cropped (bicubic)


def framing_of(size: Size) -> Framing:
    """What a size means."""
    return Framing(height=size, width=size) if isinstance(size, int) else size


def recorded_framing(preprocessing: dict[str, Any], frame_size: tuple[int, int]) -> Framing:
    """What `store.json` tells of the frames of a store: its `preprocessing` and the backbone's (height, width)."""
    height, width = frame_size
    told = str(preprocessing.get("resize"))
    return Framing(
        height=height,
        width=width,
        resize="squash" if told.endswith(_WORDS["squash"]["resize"]) else "crop",
        interpolation="bilinear" if told.startswith("bilinear") else "bicubic",
    )
