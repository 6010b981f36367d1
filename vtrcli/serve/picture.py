"""A stranger's picture, decoded in a child with limits: only pixels come out of it, of the sizes that towers take."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vtrcli.errors import InputError
from vtrcli.preprocessing import Framing
from vtrcli.searching.encoding import FORMATS, read_image
from vtrcli.video.child import Child, Patience

MEMORY_BYTES = 2 << 30  # of addresses; the largest picture that is allowed has 0.4 GiB, and is copied once
SECONDS = 15.0
_REFUSED = 3
# Nothing of the folder we were started in, nor of Python's variables: the child finds what we found.
_CODE = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from vtrcli.serve.picture import main; main()"
)


def decoded(file: Path, framings: Sequence[Framing]) -> list[np.ndarray]:
    """uint8 RGB [height, width, 3] for each size: what `vtr search --image` makes of the file.

    Raises:
        InputError: no picture of a known format, too many pixels, or one that takes too long or too much memory.
    """
    command = [sys.executable, "-I", "-c", _CODE, json.dumps(sys.path), str(file)]
    command += [json.dumps([vars_of(framing) for framing in framings])]
    num_bytes = sum(framing.num_bytes for framing in framings)
    patience = Patience(SECONDS)
    with Child(command, patience=patience, memory_bytes=MEMORY_BYTES) as child:
        pixels = child.read_all(num_bytes)
        status = child.wait()
        said = child.log
    if status == 0 and len(pixels) == num_bytes:
        return list(_cut(pixels, framings))
    if patience.left_seconds <= 0:
        raise _no_picture(f"it takes more than {SECONDS:g} s")
    raise _no_picture(
        said.decode("utf-8", "replace").strip() if status == _REFUSED else "its decoder gave up"
    )


def main() -> None:
    """The child: pixels on standard output, or why not on standard error."""
    file, framings = sys.argv[2], json.loads(sys.argv[3])
    try:
        for framing in framings:
            sys.stdout.buffer.write(read_image(Path(file), size=Framing(**framing)).tobytes())
    except InputError as error:
        why = error.came_in.removeprefix(f"{file} cannot be used as an image: ").replace(f" {file!r}", "")
        print(why[:300], file=sys.stderr)
        sys.exit(_REFUSED)


def vars_of(framing: Framing) -> dict[str, object]:
    """What makes a framing, also of one that tells more."""
    return {name: getattr(framing, name) for name in ("height", "width", "resize", "interpolation")}


def _cut(pixels: bytes, framings: Sequence[Framing]) -> list[np.ndarray]:
    cut, start = [], 0
    for framing in framings:
        part = pixels[start : start + framing.num_bytes]
        cut.append(np.frombuffer(part, np.uint8).reshape(framing.shape))
        start += framing.num_bytes
    return cut


def _no_picture(why: str) -> InputError:
    return InputError(
        f"what was sent cannot be used as a picture: {why}",
        allowed=f"one picture ({', '.join(FORMATS)})",
        to_do="convert it to PNG or JPEG, or make it smaller",
    )
