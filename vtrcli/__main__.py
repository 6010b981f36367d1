"""`python -m vtrcli` is `vtr`."""

from __future__ import annotations

from vtrcli.threads import let_idle_threads_sleep


def main() -> None:
    """Start the command line."""
    let_idle_threads_sleep()
    from vtrcli.cli.app import main as start

    start()


if __name__ == "__main__":
    main()
