"""A picture from the user -> what the image tower takes. Untrusted, so only common formats and sane sizes."""

from __future__ import annotations

import math
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 134_000_000
# A picture of several times this size, squared, is averaged down before anything else is made of it.
REDUCED_SIDE = 2048
_ORIENTATION = 0x0112  # of EXIF


def read_image(path: Path, *, size: int) -> np.ndarray:
    """uint8 RGB [size, size, 3]: upright, shorter side resized (bicubic) to `size`, the centre cut out, as CLIP does.

    Little more than the decoded picture is ever in memory.

    Raises:
        InputError: no such file, no picture of a known format, or one with too many pixels.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd in a picture that can be read is no concern of ours
            with Image.open(path, formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise ValueError(f"it has {opened.width} x {opened.height} pixels")
                opened.draft("RGB", (size, size))  # a JPEG is decoded at a size near the one that is needed
                orientation = opened.getexif().get(_ORIENTATION)
                image = _eight_bits(_reduced(opened)).convert("RGB")
        fitted = ImageOps.fit(_upright(image, orientation), (size, size), Image.Resampling.BICUBIC)
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        MemoryError,
        struct.error,
        Image.DecompressionBombError,
    ) as cause:
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        raise InputError(
            f"{path} cannot be used as an image: {why or 'there is not enough memory for it'}",
            allowed=f"a picture ({', '.join(FORMATS)}) of at most {MAX_PIXELS // 1_000_000} million pixels",
            to_do="check the path, or convert the picture to PNG or JPEG",
        ) from cause
    return np.asarray(fitted)


def _reduced(image: Image.Image) -> Image.Image:
    """A large picture with blocks of its pixels averaged, at least REDUCED_SIDE squared; any other as it is."""
    from PIL import Image

    factor = math.isqrt(image.width * image.height // REDUCED_SIDE**2)
    factor = min(factor, image.width, image.height)
    if factor < 2:
        return image
    if not image.mode.startswith("I;"):
        return (image.convert("RGB") if image.mode in ("1", "P", "PA") else image).reduce(factor)
    height, width = image.height // factor, image.width // factor
    pixels = np.asarray(image)[: height * factor, : width * factor]
    blocks = pixels.reshape(height, factor, width, factor)
    return Image.fromarray(blocks.mean(axis=(1, 3), dtype=np.float32).round().astype(np.int32))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits as grey of 8, where Pillow would cut off what lies above 255."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    lowest, highest = 0.0, 65535.0 if image.mode.startswith("I") else 1.0
    if values.min() < lowest or values.max() > highest:  # of another scale: its own range then
        lowest, highest = float(values.min()), float(values.max())
    grey = (values - lowest) * (255.0 / max(highest - lowest, 1e-12))
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    """As the camera was held; the values are those of EXIF 2.3."""
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    method = methods.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)
