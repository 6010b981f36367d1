"""`python -m vtrcli` is `vtr`."""

from __future__ import annotations

import os

from vtrcli.errors import EXIT_INTERRUPTED
from vtrcli.threads import let_idle_threads_sleep


def main() -> None:
    """Start the command line. Ctrl-C before it runs, and once more while it ends, ends it at once and in silence."""
    try:
        let_idle_threads_sleep()
        from vtrcli.cli.app import main as start

        start()
    except KeyboardInterrupt:
        os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
