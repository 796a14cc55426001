"""The defaults agree with each other, with what the interface promises, and with what is used."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from cavvy import defaults

SOURCE = Path(defaults.__file__).read_text(encoding="utf-8")
NAMES = [name for name in vars(defaults) if name.isupper()]


def with_other(name: str, value: str) -> str:
    """The module's source with one default changed."""
    changed, count = re.subn(rf"^{name}: Final = [^#\n]+", f"{name}: Final = {value}  ", SOURCE, flags=re.MULTILINE)
    assert count == 1
    return changed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("HEARTBEAT_S", "4.0", id="three heartbeats fit a lease"),
        pytest.param("LEASE_TTL_S", "8.0", id="a lease outlives two lost heartbeats"),
        pytest.param("RECONNECT_CAP_S", "4.0", id="workers are back before the grace ends"),
        pytest.param("RESTART_GRACE_S", "19.0", id="the grace is long enough for workers to come back"),
        pytest.param("MAX_FRAME_BYTES", "6 << 20", id="an escaped body and its header fit a frame"),
        pytest.param("MAX_BODY_BYTES", "2 << 20", id="the largest input fits a frame"),
        pytest.param("MAX_OUTPUT_BYTES", "2 << 20", id="the largest output fits a frame"),
        pytest.param("REQUEUE_AFTER_S", "11.0", id="a lost socket is not given longer than a lease"),
        pytest.param("MAX_PENDING_PER_TENANT", "2_000_000", id="a tenant's queue fits the queue"),
    ],
)
def test_a_default_that_breaks_a_relation_is_noticed_at_import(name: str, value: str) -> None:
    with pytest.raises(AssertionError):
        exec(compile(with_other(name, value), "defaults", "exec"), {})


def test_the_relations_hold_as_they_are() -> None:
    exec(compile(SOURCE, "defaults", "exec"), {})


def test_p06_a_dead_workers_job_is_granted_again_within_15_s() -> None:
    assert defaults.LEASE_TTL_S + defaults.SWEEP_S + defaults.COMMIT_RETRY_S <= 15
    assert defaults.REQUEUE_AFTER_S + defaults.SWEEP_S <= 15


def test_a_stream_is_never_silent_for_15_s() -> None:
    assert defaults.SSE_HEARTBEAT_S < 15


def test_the_coordinator_is_down_within_5_s_of_term() -> None:
    assert defaults.SHUTDOWN_S <= 5


def test_a_worker_that_displaces_another_still_logs_in_in_time() -> None:
    assert defaults.DISPLACE_PING_S < defaults.HANDSHAKE_TIMEOUT_S


def test_the_core_remembers_a_key_longer_than_the_longest_request() -> None:
    """Between a look-up in the store that found nothing and the command that follows it, the live keys decide."""
    assert defaults.IDEMPOTENCY_LIVE_S > defaults.MAX_WAIT_S + defaults.COMMIT_RETRY_S


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_used(name: str) -> None:
    package = Path(defaults.__file__).parent
    uses = sum(
        len(re.findall(rf"\bdefaults\.{name}\b", path.read_text(encoding="utf-8")))
        for path in package.rglob("*.py")
        if path.name != "defaults.py"
    )
    assert uses > 0


def test_every_default_is_final() -> None:
    assigned = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.AnnAssign | ast.Assign)]
    assert all(isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "Final" for node in assigned)
