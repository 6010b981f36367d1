"""How torch's threads wait. The bottom layer; imports nothing."""

from __future__ import annotations

import os
import sys


def let_idle_threads_sleep() -> None:
    """Set OMP_WAIT_POLICY before torch is loaded, unless it is set already.

    Idle torch threads spin by default. Beside ffmpeg, or anything else on the same cores, that made the encoder two
    to fourteen times slower.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
