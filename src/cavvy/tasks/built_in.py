"""One task from its input to its result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cavvy.core.canonical import canonical_text
from cavvy.core.job import TaskType
from cavvy.errors import UnknownTask
from cavvy.tasks.json_scan import extract_json
from cavvy.tasks.sentiment import classify
from cavvy.tasks.summary import summarize

__all__ = ["MODELS", "TaskDone", "run_task"]

Breathe = Callable[[], None]

_TASKS: Mapping[str, Callable[[str, Breathe], dict[str, Any]]] = {
    TaskType.SUMMARIZE: summarize,
    TaskType.CLASSIFY: classify,
    TaskType.EXTRACT_JSON: extract_json,
}
#: What each is called in receipts; the number rises when the same text may give another result.
MODELS: Mapping[str, str] = {
    TaskType.SUMMARIZE: "cavvy/summarize-1",
    TaskType.CLASSIFY: "cavvy/classify-1",
    TaskType.EXTRACT_JSON: "cavvy/extract-json-1",
}


class TaskDone(NamedTuple):
    """`result` is RFC 8785; `model` says what made it."""

    result: bytes
    model: str


def run_task(task_type: str, text: str, breathe: Breathe = lambda: None) -> TaskDone:
    """Raises UnknownTask. `breathe` is called every few milliseconds, and may raise to end it."""
    task = _TASKS.get(task_type)
    if task is None:
        raise UnknownTask(f"Unknown task_type: {task_type[:80]}. There are: {', '.join(_TASKS)}.")
    found = task(text, breathe)
    return TaskDone(canonical_text(json.dumps(found, ensure_ascii=False)), MODELS[task_type])
