"""`python -m vtrcli` is `vtr`."""

from __future__ import annotations


def main() -> None:
    """Start the command line."""
    from vtrcli.cli.app import main as start

    start()


if __name__ == "__main__":
    main()
