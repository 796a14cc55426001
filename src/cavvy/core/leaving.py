"""When a worker that is to leave gives back what still runs, and when it goes whatever is left (promise P12)."""

from __future__ import annotations

from math import inf

from cavvy import defaults

__all__ = ["Leaving"]


class Leaving:
    """Told by its coordinator, a worker has all the time that its attempts need; told by its owner, as much as he says.

    `draining`: it takes nothing new. `by_itself`: its coordinator has to be told. `hurried`: nobody waits for answers
    that may never come.
    """

    __slots__ = ("_go_s", "by_itself", "draining", "gave_back", "give_back_s", "hurried", "left")

    def __init__(self) -> None:
        self.draining = self.by_itself = self.hurried = self.gave_back = self.left = False
        self.give_back_s = self._go_s = inf

    def told(self, within_s: float, now_s: float) -> None:
        """What runs may go on for `within_s`. Told again, the earlier time holds."""
        self.draining = self.by_itself = True
        self.hurried |= within_s <= 0
        self.give_back_s = min(self.give_back_s, now_s + max(0.0, within_s))
        self._go_s = self.give_back_s + defaults.LEAVE_S

    def due(self, now_s: float) -> bool:
        """Whether it is time to give back what runs, which happens once."""
        if now_s < self.give_back_s or self.gave_back:
            return False
        self.gave_back = True
        return True

    def may_go(self, now_s: float, *, held: bool, working: bool, connected: bool) -> bool:
        """Whether to go now. `held`: something is not reported; `working`: a provider is busy."""
        if not self.draining or self.left:
            return False
        self.left = not held or now_s >= self._go_s or (self.hurried and not connected and not working)
        return self.left

    @property
    def wake_s(self) -> float:
        """When something is due by the clock."""
        if self.left:
            return inf
        return self._go_s if self.gave_back else self.give_back_s
