"""What a job works on: the bytes of its input, as they are hashed, stored and sent, and the parameters."""

from __future__ import annotations

import msgspec

from cavvy import defaults
from cavvy.api.fields import checked_name, refuse
from cavvy.core.job import JobType, TaskType
from cavvy.core.receipt import Params
from cavvy.protocol.rest_submit import SubmitBody

__all__ = ["expected_tokens", "job_input", "job_params", "task_input"]

ROLES = ("system", "user", "assistant")
_TASKS = tuple(one.value for one in TaskType)
_OF_TASKS = ("task_type", "input")
_OF_MODELS = ("prompt", "messages", "model", "max_tokens", "temperature", "stop")


def job_input(submit: SubmitBody) -> bytes:
    """Raises InvalidInput that names what is missing, or belongs to another type of job."""
    if submit.job_type != JobType.TASK:
        return _chat_input(submit)
    for field in _OF_MODELS:
        if getattr(submit, field) is not None:
            refuse(field, "a job_type TASK has none: it has 'task_type' and 'input'")
    return task_input(submit.task_type, submit.input)


def task_input(task_type: str | None, given: str | None) -> bytes:
    """The input of a TASK. Raises InvalidInput."""
    if task_type not in _TASKS:
        refuse("task_type", f"must be exactly one of: {', '.join(_TASKS)}")
    if not given:
        refuse("input", "must hold the text that the task is about")
    return msgspec.json.encode({"task_type": task_type, "input": given})


def expected_tokens(submit: SubmitBody, given: bytes) -> int:
    """What it will take of a model, prompt and answer."""
    if submit.job_type == JobType.TASK:
        return 0
    return len(given) // defaults.CHARS_PER_TOKEN + (submit.max_tokens or defaults.ANSWER_TOKENS)


def _chat_input(submit: SubmitBody) -> bytes:
    for field in _OF_TASKS:
        if getattr(submit, field) is not None:
            refuse(field, "belongs to a job_type TASK")
    if (submit.prompt is None) == (submit.messages is None):
        refuse("prompt", "give exactly one of 'prompt' and 'messages'")
    if submit.prompt is not None:
        if not submit.prompt:
            refuse("prompt", "must not be empty")
        return msgspec.json.encode({"prompt": submit.prompt})
    messages = submit.messages or []
    if not 1 <= len(messages) <= defaults.MAX_MESSAGES:
        refuse("messages", f"must hold 1 to {defaults.MAX_MESSAGES} messages")
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            refuse(f"messages[{index}].role", f"must be one of: {', '.join(ROLES)}")
        if not message.content:
            refuse(f"messages[{index}].content", "must not be empty")
    return msgspec.json.encode({"messages": messages})


def job_params(submit: SubmitBody) -> Params:
    """What is asked of the model; of a task nothing is."""
    tokens, temperature = submit.max_tokens, submit.temperature
    if tokens is not None and not 1 <= tokens <= defaults.MAX_TOKENS_LIMIT:
        refuse("max_tokens", f"must be from 1 to {defaults.MAX_TOKENS_LIMIT}")
    if temperature is not None and not 0 <= temperature <= 2:
        refuse("temperature", "must be from 0 to 2")
    stop = [submit.stop] if isinstance(submit.stop, str) else submit.stop
    if stop is not None:
        if not 1 <= len(stop) <= defaults.MAX_STOP_STRINGS:
            refuse("stop", f"must hold 1 to {defaults.MAX_STOP_STRINGS} strings")
        stop = [checked_name(one, "stop") or "" for one in stop]
    return Params(model=submit.model, max_tokens=tokens, temperature=temperature, stop=stop)
