"""The command line: one file a command group, and `_serve`, which picks the concrete parts of the servers.

Everything heavy is imported inside the commands, so that `cavvy --version` and the client commands start quickly.
"""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Runs the command in `sys.argv` and exits with its code."""
    arguments = sys.argv[1:]
    if "--version" in arguments and set(arguments) <= {"--version", "--json"}:
        sys.exit(_print_version(as_json="--json" in arguments))
    try:
        from cavvy.cli import _output
        from cavvy.cli._app import execute
    except KeyboardInterrupt:  # nothing was begun
        sys.exit(130)

    code = execute(arguments)
    _output.settle()
    sys.exit(code)


def _print_version(*, as_json: bool) -> int:
    from cavvy import __version__

    print(f'{{"version":"{__version__}"}}' if as_json else f"cavvy {__version__}")
    return 0
