"""A client written for Dispatch runs tasks: the fields it knows are there, and hold honest work."""

from __future__ import annotations

import pytest

from tests.dispatch.client import Client
from tests.processes import Installation, ScriptedWorker

pytestmark = pytest.mark.e2e

USER = "user_abc"


@pytest.fixture(scope="module", autouse=True)
def worker(coordinator: Installation) -> ScriptedWorker:
    return coordinator.start_worker()


def test_summarize_gives_real_sentences_and_their_words(client: Client) -> None:
    text = "Rivers carry water to the sea. Some rivers are long. The Amazon carries the most water of all rivers."
    ran = client.run_task("summarize", text, USER, poll_s=0.02)
    assert ran.output["summary"]
    assert ran.output["word_count"] == len(text.split())
    assert ran.price == "$0.001"


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("This is a great product, I love it.", "positive"),
        ("Not good. It is terrible.", "negative"),
        ("It is.", "neutral"),
    ],
)
def test_classify_gives_a_sentiment_and_how_sure_it_is(client: Client, text: str, sentiment: str) -> None:
    ran = client.run_task("classify", text, USER, poll_s=0.02)
    assert ran.output["sentiment"] == sentiment
    assert 0 < ran.output["confidence"] <= 1


def test_extract_json_gives_what_is_in_the_text(client: Client) -> None:
    ran = client.run_task("extract_json", 'Here: {"a": {"b": {"c": 1}}} and {"d": 2}, not {this}.', USER, poll_s=0.02)
    assert ran.output["extracted"] == [{"a": {"b": {"c": 1}}}, {"d": 2}]
    assert ran.output["count"] == 2
