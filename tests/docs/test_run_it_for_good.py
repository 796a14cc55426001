"""The page's units and proxy settings fit the program: the commands are there, and no time is shorter than its own."""

from __future__ import annotations

import plistlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cavvy import defaults
from tests.docs.test_readme import known
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "howto" / "run-it-for-good.md").read_text(encoding="utf-8")
UNITS = re.findall(
    r"^`/etc/systemd/system/(\S+\.service)`|^A worker, `/etc/systemd/system/(\S+\.service)`", PAGE, re.MULTILINE
)
NAMES = [first or second for first, second in UNITS]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def unit(name: str) -> str:
    return blocks("ini")[NAMES.index(name)]


def setting(text: str, name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
    return str(found)


def test_there_is_a_unit_for_each_server() -> None:
    assert NAMES == ["cavvy-coordinator.service", "cavvy-worker.service"]
    assert len(blocks("ini")) == len(NAMES)


@pytest.mark.parametrize("text", blocks("ini"), ids=NAMES)
def test_a_unit_starts_a_command_that_there_is(text: str) -> None:
    program, *words = setting(text, "ExecStart").split()
    assert program.endswith("/cavvy")
    assert known(words)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_finds_nothing_wrong_with_a_unit(tmp_path: Path, name: str) -> None:
    text = unit(name).replace("/opt/cavvy/bin/cavvy", "/bin/true").replace("User=cavvy", "User=root")
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    assert [line for line in found.stderr.splitlines() if name in line] == []


def test_each_server_has_longer_to_stop_than_it_takes() -> None:
    coordinator, worker = unit("cavvy-coordinator.service"), unit("cavvy-worker.service")
    assert int(setting(coordinator, "TimeoutStopSec")) > defaults.SHUTDOWN_S
    assert int(setting(worker, "TimeoutStopSec")) > defaults.DRAIN_TIMEOUT_S + defaults.SHUTDOWN_S
    (plist,) = blocks("xml")
    assert plistlib.loads(plist.encode())["ExitTimeOut"] > defaults.DRAIN_TIMEOUT_S + defaults.SHUTDOWN_S


def test_a_coordinator_may_open_as_many_files_as_it_wants() -> None:
    needed = defaults.MAX_CONNECTIONS + defaults.FILES_RESERVED
    assert int(setting(unit("cavvy-coordinator.service"), "LimitNOFILE")) >= needed
    (plist,) = blocks("xml")
    assert plistlib.loads(plist.encode())["SoftResourceLimits"]["NumberOfFiles"] >= needed


def test_launchd_starts_a_command_that_there_is() -> None:
    (plist,) = blocks("xml")
    program, *words = plistlib.loads(plist.encode())["ProgramArguments"]
    assert program.endswith("/cavvy")
    assert known(words)


def test_a_proxy_cuts_off_neither_a_batch_nor_an_idle_stream_nor_a_long_poll() -> None:
    (nginx,), (caddy,) = blocks("nginx"), blocks("caddy")
    sizes = [re.findall(r"client_max_body_size (\d+)m;", nginx), re.findall(r"max_size (\d+)MB", caddy)]
    assert all(int(size) * 1_000_000 > defaults.MAX_BATCH_BODY_BYTES for (size,) in sizes)
    times = [int(seconds) for seconds in re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", nginx)]
    assert len(times) == 2
    assert min(times) > max(defaults.SSE_HEARTBEAT_S, defaults.HEARTBEAT_S, defaults.MAX_WAIT_S)
