"""Exit codes, and which error means which."""

from __future__ import annotations

from enum import IntEnum

from cavvy import errors

__all__ = ["Exit", "exit_code"]


class Exit(IntEnum):
    """What the process says when it ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_COORDINATOR = 3
    REFUSED = 4
    UNDECIDABLE = 5
    CANNOT_START = 6
    START_AGAIN = 75
    TIMEOUT = 124
    INTERRUPTED = 130


_CODES: tuple[tuple[type[Exception], Exit], ...] = (
    (errors.ConfigInvalid, Exit.USAGE),
    (errors.InvalidInput, Exit.USAGE),
    (errors.NoCoordinator, Exit.NO_COORDINATOR),
    (errors.CertificateRefused, Exit.REFUSED),
    (errors.RequestRefused, Exit.REFUSED),
    (errors.WorkerRefused, Exit.REFUSED),
    (errors.ReceiptUndecidable, Exit.UNDECIDABLE),
    (errors.StartError, Exit.CANNOT_START),
    (errors.CommitUnknown, Exit.START_AGAIN),
    (errors.Fenced, Exit.START_AGAIN),
    (errors.StoreDamaged, Exit.CANNOT_START),
    (errors.JobTimeout, Exit.TIMEOUT),
)


def exit_code(error: Exception) -> Exit:
    """The code of `error`; whatever is not in the table is a plain failure."""
    if isinstance(error, errors.RequestRefused) and error.problem.get("outcome") == "unknown":
        return Exit.START_AGAIN
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)
