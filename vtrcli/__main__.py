"""`python -m vtrcli` is `vtr`."""

from __future__ import annotations

import os


def main() -> None:
    """Start the command line."""
    # Idle torch threads spin by default; beside ffmpeg's that made the encoder two to three times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from vtrcli.cli.app import main as start

    start()


if __name__ == "__main__":
    main()
