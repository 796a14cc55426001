"""Names by the time they are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cavvy.core.resting import DueTimes


def test_what_is_put_again_is_due_then_and_not_before() -> None:
    times = DueTimes()
    times.put("a", 1)
    times.put("a", 5)
    assert (times.at("a"), times.due(4), times.due(5), times.due(9)) == (5, [], ["a"], [])


def test_what_is_due_comes_in_the_order_of_its_time() -> None:
    times = DueTimes()
    for name, at in (("b", 2), ("c", 3), ("a", 1)):
        times.put(name, at)
    assert (times.due(2), len(times)) == (["a", "b"], 1)


def test_what_is_discarded_is_never_due_and_its_place_is_given_up() -> None:
    times = DueTimes()
    for number in range(10_000):
        times.put(str(number), number)
        assert times.discard(str(number))
    assert (times.discard("0"), times.due(1e9), len(times._heap) < 100) == (False, [], True)


@given(st.lists(st.tuples(st.sampled_from(["put", "discard", "due"]), st.sampled_from("abc"), st.integers(0, 5))))
def test_it_agrees_with_a_table(steps: list[tuple[str, str, int]]) -> None:
    times, table = DueTimes(), dict[str, int]()
    for what, name, at in steps:
        if what == "put":
            times.put(name, at)
            table[name] = at
        elif what == "discard":
            assert times.discard(name) == (table.pop(name, None) is not None)
        else:
            due = sorted(one for one, when in table.items() if when <= at)
            assert sorted(times.due(at)) == due
            table = {one: when for one, when in table.items() if one not in due}
        assert len(times) == len(table)
