"""Every task: linear in the text, ended when told to, RFC 8785, the same each time."""

from __future__ import annotations

import random

import pytest

from cavvy.core.job import TaskType
from cavvy.core.results import parse_task_result
from cavvy.errors import UnknownTask
from cavvy.tasks.built_in import MODELS, run_task

UNIT = 4000
#: Texts made to be slow: what nests, never closes, never ends a sentence, is one word, is all marks.
PATTERNS = [
    "[", "{", "[]", '{"', '["', "[1,", "[[],", '{"a":', '["[",', '["\\', '[{"a":"[{', '["a [1,2] b", x ', '"', "\\",
    "a", "a ", "a. ", ". ", ".", "\n", "\n  ", "- ", "# ", "a'", "'", "not ", "good ", "but ", "!", ":", ":-", "1 ",
    "e\u0301", "\u0301", "很好", "不", "。", "กข", "😍", "\u200d", "Mr. ", "3. ",
]  # fmt: skip


class Steps:
    """Counts breaths, and ends the task at one of them."""

    def __init__(self, last: float = float("inf")) -> None:
        self.taken = 0
        self._last = last

    def __call__(self) -> None:
        self.taken += 1
        if self.taken >= self._last:
            raise InterruptedError


@pytest.mark.parametrize("task", TaskType)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_text_made_to_be_slow_takes_steps_in_proportion_to_its_length(task: TaskType, pattern: str) -> None:
    short, long = Steps(), Steps()
    run_task(task, pattern * (UNIT // len(pattern)), short)
    run_task(task, pattern * (8 * UNIT // len(pattern)), long)
    assert long.taken <= 10 * short.taken + 10


def test_brackets_and_quotes_in_any_order_take_steps_in_proportion() -> None:
    dice = random.Random(5)
    for _ in range(20):
        text = "".join(dice.choices('[{]},:"1 \\', weights=[6, 3, 2, 1, 3, 2, 5, 3, 1, 1], k=50_000))
        steps = Steps()
        run_task(TaskType.EXTRACT_JSON, text, steps)
        assert steps.taken <= 3 * len(text) / 1024 + 1


@pytest.mark.parametrize("task", TaskType)
def test_a_task_can_be_ended_while_it_works(task: TaskType) -> None:
    text = '["a",' * 20_000 + "This is a good sentence. " * 20_000
    with pytest.raises(InterruptedError):
        run_task(task, text, Steps(last=3))


@pytest.mark.parametrize("task", TaskType)
@pytest.mark.parametrize("text", ["", "Hello.", "\x00\ufeff\u202e", "A text. " * 100, '{"a":[1.5e300]}'])
def test_a_result_is_signed_as_it_is(task: TaskType, text: str) -> None:
    done = run_task(task, text)
    assert parse_task_result(done.result).method
    assert done.model == MODELS[task]
    assert run_task(task, text) == done


def test_a_task_that_is_not_known_is_no_result() -> None:
    with pytest.raises(UnknownTask, match=r"Unknown task_type: translate\. There are: summarize, classify"):
        run_task("translate", "hi")


def test_there_is_one_for_every_type_of_task() -> None:
    assert set(MODELS) == set(TaskType)
