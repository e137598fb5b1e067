"""The command line, as `dontstop` and `python -m dontstop`: signals are heeded while its modules are imported too."""

from dontstop.machine import interrupts


def main() -> None:
    """Run the command line; see `cli.main`."""
    with interrupts.told():
        from dontstop import cli

        cli.main()


if __name__ == "__main__":
    main()
