"""Keeping known_workers.toml up to date, so that receipts can be checked offline later."""

from __future__ import annotations

import contextlib

from cavvy.client import Cavvy, Job, config
from cavvy.errors import CavvyError

__all__ = ["remember_workers"]


def remember_workers(client: Cavvy, job: Job) -> None:
    """Notes the keys of the workers that ran `job`. A failure to do so is no failure of the command."""
    with contextlib.suppress(CavvyError, OSError):
        known = config.known_workers()
        for worker_id in {each.worker_id for each in job.attempts if each.worker_id and each.worker not in known}:
            worker = client.worker(worker_id)
            config.remember_worker(worker.key, worker.name)
