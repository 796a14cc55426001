"""Every error Cavvy raises, one tree. Each message says what to do next.

CavvyError
├── StartError                 the process cannot start (exit 6)
│   ├── DataHeld               another process has the data directory
│   ├── SchemaTooNew           the data was written by a newer Cavvy
│   ├── PortInUse
│   └── ModelMissing
├── StoreError                 a commit failed, in one of five ways
│   ├── RolledBack             for sure nothing was written: try the same writes again
│   ├── Refused                the store will never take these writes: replay them singly
│   ├── CommitUnknown          nobody knows whether it was written: exit 75, start again
│   ├── Fenced                 a newer term rules: decide nothing more, exit 75
│   └── StoreDamaged           what is stored cannot be read any more: restore a backup, exit 6
├── BackupError                a backup cannot be made, or cannot be used
├── ConfigInvalid              cavvy.toml says what cannot be followed
├── InvalidInput               what came from outside breaks the contract
├── WorkerRefused              the coordinator refused this worker, for good
├── ProviderError              the model, not Cavvy, failed
│   ├── InputTooLarge
│   ├── OutputTooLarge
│   ├── ContextTruncated       it answered without having read all of the prompt
│   └── UnknownTask            there is no such task
├── ReceiptError
│   ├── ReceiptInvalid         the receipt is wrong
│   └── ReceiptUndecidable     what is needed to judge it is missing
└── ClientError                the SDK's side
    ├── NoCoordinator          nothing answers at the URL
    ├── CertificateRefused     what answers there cannot show that it is the coordinator
    ├── RequestRefused         the coordinator answered with a problem (`status`, `code`)
    ├── JobFailed              the job ended `failed` (`job`)
    ├── JobTimeout             waited as long as asked; the job goes on
    ├── ComputeFailed          no route of a ComputeRouter gave an answer (`code`, `reasons`)
    └── AttemptRestarted       text was shown and a new attempt began
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AttemptRestarted",
    "BackupError",
    "CavvyError",
    "CertificateRefused",
    "ClientError",
    "CommitUnknown",
    "ComputeFailed",
    "ConfigInvalid",
    "ContextTruncated",
    "DataHeld",
    "Fenced",
    "InputTooLarge",
    "InvalidInput",
    "JobFailed",
    "JobTimeout",
    "ModelMissing",
    "NoCoordinator",
    "OutputTooLarge",
    "PortInUse",
    "ProviderError",
    "ReceiptError",
    "ReceiptInvalid",
    "ReceiptUndecidable",
    "Refused",
    "RequestRefused",
    "RolledBack",
    "SchemaTooNew",
    "StartError",
    "StoreDamaged",
    "StoreError",
    "UnknownTask",
    "WorkerRefused",
]


class CavvyError(Exception):
    """The root of every error Cavvy raises on purpose."""


class StartError(CavvyError):
    """The process cannot start; the message says why and what to do."""


class DataHeld(StartError):
    """Another process has this data directory."""


class SchemaTooNew(StartError):
    """The data was written by a newer Cavvy; nothing was changed."""


class PortInUse(StartError):
    """Something else listens on the port."""


class ModelMissing(StartError):
    """The model file is not there or cannot be read."""


class StoreError(CavvyError):
    """A commit failed."""


class RolledBack(StoreError):
    """Nothing was written, for sure (busy, full, read-only): the same writes may be tried again."""


class Refused(StoreError):
    """The store will never take these writes (a constraint, a row count that is not 1); nothing was written."""


class CommitUnknown(StoreError):
    """COMMIT failed half-way: only a restart can find out what is there."""


class Fenced(StoreError):
    """A newer term rules this store; this process must decide nothing more."""


class StoreDamaged(StoreError):
    """What is stored is not what was written; going on could spread the damage."""


class BackupError(CavvyError):
    """A backup cannot be made, or cannot be used; nothing half done is left behind."""


class ConfigInvalid(CavvyError):
    """cavvy.toml cannot be trusted, read or followed; the message names file and line where it can."""


class InvalidInput(CavvyError):
    """Input from outside that breaks the contract.

    `code` is one of the documented error codes, `field` names the offender where there is one.
    """

    def __init__(self, code: str, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field


class WorkerRefused(CavvyError):
    """The coordinator refused this worker in a way that trying again cannot heal."""


class ProviderError(CavvyError):
    """The provider failed this attempt; the worker itself is well. `retryable`: another try may go better."""

    code = "worker_error"

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.retryable = self.code == ProviderError.code if retryable is None else retryable


class InputTooLarge(ProviderError):
    """The input does not fit the model's context or a frame."""

    code = "input_too_large"


class OutputTooLarge(ProviderError):
    """The output grew beyond `max_output_bytes`."""

    code = "output_too_large"


class ContextTruncated(ProviderError):
    """The provider cut the input to fit and answered to what was left of it."""

    code = "context_truncated"


class UnknownTask(ProviderError):
    """No built-in task has this name; another try finds none either."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class ReceiptError(CavvyError):
    """A receipt could not be shown to be valid."""


class ReceiptInvalid(ReceiptError):
    """The receipt is wrong; the message says which check failed."""


class ReceiptUndecidable(ReceiptError):
    """Something needed to judge the receipt is missing (an unknown key, say)."""


class ClientError(CavvyError):
    """What the SDK raises."""


class NoCoordinator(ClientError):
    """Nothing answers at the coordinator's URL; start one with `cavvy up`."""


class CertificateRefused(ClientError):
    """What answers at the URL has another key than the pinned one, or no authority vouches for it; it got nothing."""


class RequestRefused(ClientError):
    """The coordinator refused the request: `status` (HTTP), `code` (documented), `detail` (what to do)."""

    def __init__(self, status: int, code: str, detail: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.problem = problem or {}


class JobFailed(ClientError):
    """The job ended `failed`; `job` is all that is known of it."""

    def __init__(self, message: str, job: Any) -> None:
        super().__init__(message)
        self.job = job


class JobTimeout(ClientError):
    """The caller's wait is over; the job itself goes on (`job_id`)."""

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class ComputeFailed(ClientError):
    """No route gave an answer: `reasons` says why, by route. With one route, `code` and `job_id` are its own."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        job_id: str | None = None,
        reasons: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.job_id = job_id
        self.reasons = dict(reasons or {})


class AttemptRestarted(ClientError):
    """Text was already shown and a new attempt begins; pass `restart=True` to begin again instead."""

    def __init__(self, message: str, attempt: int) -> None:
        super().__init__(message)
        self.attempt = attempt
