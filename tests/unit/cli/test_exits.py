from __future__ import annotations

import pytest

from cavvy import errors
from cavvy.cli._exits import exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.JobFailed("", None), 1),
        (errors.AttemptRestarted("", 2), 1),
        (errors.ReceiptInvalid(), 1),
        (errors.InvalidInput("invalid_field", ""), 2),
        (errors.NoCoordinator(), 3),
        (errors.RequestRefused(403, "forbidden", ""), 4),
        (errors.WorkerRefused(), 4),
        (errors.ReceiptUndecidable(), 5),
        (errors.PortInUse(), 6),
        (errors.DataHeld(), 6),
        (errors.SchemaTooNew(), 6),
        (errors.ModelMissing(), 6),
        (errors.CommitUnknown(), 75),
        (errors.Fenced(), 75),
        (errors.JobTimeout("", ""), 124),
    ],
)
def test_each_error_has_the_exit_code_of_the_contract(error: Exception, code: int) -> None:
    assert exit_code(error) == code
