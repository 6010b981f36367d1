"""`python -m vtrcli` is `vtr`."""

from __future__ import annotations

import gc
import os

from vtrcli.errors import EXIT_INTERRUPTED


def main() -> None:
    """Start the command line. Ctrl-C before it runs, and once more while it ends, ends it at once and in silence."""
    try:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see choose_device in model/backbone.py
        # NumPy's idle threads spin too, 0.06 s of a processor for its import alone; 2^4 turns, not 2^26.
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
        # Imports and parsers make many objects that stay; looking through them for circles is a tenth of `vtr --help`.
        gc.set_threshold(50_000)
        from vtrcli.cli.app import main as start

        start()
    except KeyboardInterrupt:
        os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
