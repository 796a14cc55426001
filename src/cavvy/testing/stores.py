"""A store that fails on command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cavvy.core.writes import Write
from cavvy.store.base import Store

__all__ = ["FailingStore"]


class FailingStore:
    """Wraps a store; `fail_commits` holds what the next commits raise (None: that one goes through).

    `refuse` names writes the store will not take: a commit that holds one raises `error`, with nothing written.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.commits = 0
        self.fail_commits: list[Exception | None] = []
        self.refuse: Callable[[Write], Exception | None] = lambda _: None

    async def commit(self, writes: Sequence[Write], *, term: int) -> None:
        self.commits += 1
        error = self.fail_commits.pop(0) if self.fail_commits else None
        if error is not None:
            raise error
        for write in writes:
            if (refusal := self.refuse(write)) is not None:
                raise refusal
        await self.inner.commit(writes, term=term)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
