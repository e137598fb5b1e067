"""`python -m dontstop` is the command line."""

from dontstop.cli import main

if __name__ == "__main__":
    main()
