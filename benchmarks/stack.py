"""A coordinator and its workers as real processes, on free loopback ports, stopped by their own process ids."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["BENCH_DIR", "BenchStack", "running_stack"]

#: On the checkout's disk, since durability is part of what is measured.
BENCH_DIR = Path(__file__).resolve().parent.parent / ".bench"


class BenchStack:
    """One running installation. `url` and `key` are for its clients, `pid` is the coordinator's."""

    def __init__(self, home: Path, settings: str = "") -> None:
        self.home = home
        (home / "config").mkdir(mode=0o700)
        (home / "config" / "cavvy.toml").write_text(settings)
        self._env = {**os.environ, "CAVVY_DATA_DIR": str(home / "data"), "CAVVY_CONFIG_DIR": str(home / "config")}
        self._processes: list[subprocess.Popen[str]] = []
        command = [sys.executable, "-m", "cavvy", "coordinator", "--port", "0", "--json"]
        coordinator = self._start(command, stdout=subprocess.PIPE)
        assert coordinator.stdout is not None
        self.url: str = json.loads(coordinator.stdout.readline())["url"]
        self.pid = coordinator.pid
        self.key = self._key()

    def add_workers(
        self, count: int, *, provider: str, slots: int, url: str | None = None, online: int | None = None
    ) -> None:
        """Starts workers and waits until each is online, or as many as `online` says are in all."""
        for number in range(count):
            join = self.request("POST", "/v1/worker-tokens")["join"]
            home = self.home / f"{provider}-{number}"
            module = [sys.executable, "-m", "benchmarks.worker"]
            where = ["--url", url] if url is not None else []
            kind = ["--provider", provider, "--slots", str(slots), *where]
            self._start([*module, "--join", join, "--home", str(home), *kind])
        self.until_online(online or count)

    def until_online(self, count: int) -> None:
        """Waits until so many workers are there."""
        deadline = time.monotonic() + 60
        while sum(one["online"] for one in self.request("GET", "/v1/workers")["workers"]) < count:
            assert time.monotonic() < deadline, "the workers did not come online"
            time.sleep(0.05)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One plain request, outside of what is measured."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()

    def _start(self, command: list[str], stdout: int | None = subprocess.DEVNULL) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, env=self._env, stdout=stdout, stderr=subprocess.DEVNULL, text=True)
        self._processes.append(process)
        return process

    def _key(self) -> str:
        import tomllib

        return str(tomllib.loads((self.home / "config" / "credentials.toml").read_text())["key"])


@contextlib.contextmanager
def running_stack(name: str, settings: str = "") -> Iterator[BenchStack]:
    """A fresh installation that is gone afterwards; `settings` is its cavvy.toml."""
    home = BENCH_DIR / name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    stack = BenchStack(home, settings)
    try:
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(home, ignore_errors=True)
