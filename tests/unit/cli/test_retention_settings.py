"""`[retention]` in cavvy.toml: what a coordinator follows, and what contradicts itself."""

from __future__ import annotations

import pytest

from cavvy.cli._config import retention
from cavvy.client.configfile import ConfigFile, RetentionTable, Tables
from cavvy.errors import ConfigInvalid


def chosen(**days: int) -> dict[str, int]:
    return retention(ConfigFile(tables=Tables(retention=RetentionTable(**days))))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({}, {}),
        ({"jobs_days": 0}, {"jobs_days": 0}),
        ({"jobs_days": 30}, {"jobs_days": 30, "texts_days": 30}),
        ({"texts_days": 7, "jobs_days": 30}, {"texts_days": 7, "jobs_days": 30}),
        ({"texts_days": 0, "jobs_days": 0}, {"texts_days": 0, "jobs_days": 0}),
        ({"used_tokens_days": 1}, {"used_tokens_days": 1}),
    ],
)
def test_texts_go_with_their_job_at_the_latest(said: dict[str, int], kept: dict[str, int]) -> None:
    assert chosen(**said) == kept


@pytest.mark.parametrize("said", [{"texts_days": 0}, {"texts_days": 400}, {"texts_days": 8, "jobs_days": 7}])
def test_texts_that_are_to_outlive_their_job_are_refused(said: dict[str, int]) -> None:
    with pytest.raises(ConfigInvalid, match="a job's texts go with the job"):
        chosen(**said)
