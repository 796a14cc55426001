"""A line of jobs by their places, in which every job can say how many stand before it."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter

from cavvy.core.job import JobHeader

__all__ = ["Line"]

_BLOCK = 512
_place = attrgetter("place")


class Line:
    """Sorted blocks of at most twice `_BLOCK` jobs: coming, leaving and asking cost little however many wait.

    `barred` are the workers (keys) that shall not get these jobs. `number` is the line's own.
    """

    __slots__ = ("_blocks", "barred", "count", "number", "user_id")

    def __init__(self, user_id: str, barred: frozenset[str], number: int) -> None:
        self.user_id = user_id
        self.barred = barred
        self.number = number
        self.count = 0
        self._blocks: list[list[JobHeader]] = []

    def head(self) -> JobHeader | None:
        """Who is first."""
        return self._blocks[0][0] if self._blocks else None

    def add(self, job: JobHeader) -> None:
        blocks = self._blocks
        if not blocks:
            blocks.append([job])
        elif blocks[-1][-1].place < job.place:
            self._append(job)
        else:
            at = self._block_of(job.place)
            block = blocks[at]
            block.insert(bisect_left(block, job.place, key=_place), job)
            if len(block) > 2 * _BLOCK:
                blocks[at : at + 1] = [block[:_BLOCK], block[_BLOCK:]]
        self.count += 1

    def remove(self, job: JobHeader) -> None:
        """Raises KeyError if it is not here."""
        at = index = 0
        block = self._blocks[0] if self._blocks else []
        if not block or block[0] is not job:
            at = self._block_of(job.place)
            block = self._blocks[at] if at < len(self._blocks) else []
            index = bisect_left(block, job.place, key=_place)
            if index == len(block) or block[index] is not job:
                raise KeyError(job.id)
        del block[index]
        if not block:
            del self._blocks[at]
        self.count -= 1

    def before(self, place: int) -> int:
        """How many stand before `place`."""
        at = self._block_of(place)
        if at == len(self._blocks):
            return self.count
        return sum(map(len, self._blocks[:at])) + bisect_left(self._blocks[at], place, key=_place)

    def _append(self, job: JobHeader) -> None:
        if len(self._blocks[-1]) < _BLOCK:
            self._blocks[-1].append(job)
        else:
            self._blocks.append([job])

    def _block_of(self, place: int) -> int:
        """The first block whose last job is not before `place`."""
        return bisect_left(self._blocks, place, key=_last_place)


def _last_place(block: list[JobHeader]) -> int:
    return block[-1].place
