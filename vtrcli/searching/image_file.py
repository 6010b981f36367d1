"""A picture from the user -> what the image tower takes. Untrusted, so only common formats and sane sizes."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np

from vtrcli.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 134_000_000


def read_image(path: Path, *, size: int) -> np.ndarray:
    """uint8 RGB [size, size, 3]: upright, shorter side resized (bicubic) to `size`, the centre cut out, as CLIP does.

    Raises:
        InputError: no such file, no picture of a known format, or one with too many pixels.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd in a picture that can be read is no concern of ours
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise ValueError(f"it has {opened.width} x {opened.height} pixels")
                opened.draft("RGB", (size, size))  # a JPEG is decoded at a size near the one that is needed
                image = ImageOps.exif_transpose(opened).convert("RGB")
        fitted = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as cause:
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        raise InputError(
            f"{path} cannot be used as an image: {why}",
            allowed=f"a picture ({', '.join(FORMATS)}) of at most {MAX_PIXELS // 1_000_000} million pixels",
            to_do="check the path, or convert the picture to PNG or JPEG",
        ) from cause
    return np.asarray(fitted)
