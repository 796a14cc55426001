"""Every task: linear in the text, ended when told to, RFC 8785, the same each time."""

from __future__ import annotations

import os
import random
import subprocess
import sys

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


#: Texts of sentences that weigh the same, hashed with their results: what decides must not be the order of a set.
DIGEST = """
import hashlib, random
from cavvy.tasks.built_in import MODELS, run_task
dice, digest = random.Random(3), hashlib.sha256()
words = ["".join(dice.choices("abcdefghij", k=6)) for _ in range(60)]
for _ in range(60):
    text = " ".join(" ".join(dice.sample(words, 9)).capitalize() + "." for _ in range(40))
    for task in MODELS:
        digest.update(run_task(task, text + ' {"b": 1, "a": [2]} good but bad').result)
print(digest.hexdigest())
"""


def test_a_result_is_the_same_in_every_process_and_under_every_locale() -> None:
    digests = set()
    for seed, locale in (("0", "C"), ("1", "C.UTF-8"), ("2", "tr_TR.UTF-8"), ("3", "C")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale}
        ended = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(ended.stdout)
    assert len(digests) == 1
