"""`python -m cavvy` is `cavvy`."""

from cavvy.cli import main

if __name__ == "__main__":
    main()
