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
        # Python keeps what it compiles, as it does for whoever installed it.
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._env = {**environ, "CAVVY_DATA_DIR": str(home / "data"), "CAVVY_CONFIG_DIR": str(home / "config")}
        self._processes: list[subprocess.Popen[str]] = []
        self._joins: dict[str, str] = {}
        self.url = ""
        self.start()
        self.key = self._key()

    def start(self) -> None:
        """Starts the coordinator; again at the address it had. Returns when it is ready."""
        port = self.url.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "cavvy", "coordinator", "--port", port, "--json"]
        self._coordinator = self._start(command, stdout=subprocess.PIPE)
        assert self._coordinator.stdout is not None
        self.url = json.loads(self._coordinator.stdout.readline())["url"]
        self.pid = self._coordinator.pid

    def halt(self) -> None:
        """Stops the coordinator; the workers stay."""
        self._coordinator.terminate()
        self._coordinator.wait(60)
        self._processes.remove(self._coordinator)

    def halt_workers(self) -> None:
        """Stops every worker and waits for it."""
        workers = [one for one in self._processes if one is not self._coordinator]
        for one in workers:
            one.terminate()
        for one in workers:
            one.wait(60)
            self._processes.remove(one)

    def rss_bytes(self) -> int:
        """What the coordinator has in memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def add_workers(
        self, count: int, *, provider: str, slots: int, url: str | None = None, online: int | None = None
    ) -> None:
        """Starts workers and waits until each is online, or as many as `online` says are in all."""
        for number in range(count):
            name = f"{provider}-{number}"
            self._joins[name] = self.request("POST", "/v1/worker-tokens")["join"]
            self.start_worker(name, provider=provider, slots=slots, url=url)
        self.until_online(online or count)

    def start_worker(self, name: str, *, provider: str, slots: int, url: str | None = None) -> None:
        """Starts one that was added, again if it was halted."""
        where = ["--url", url] if url is not None else []
        kind = ["--provider", provider, "--slots", str(slots), *where]
        home = str(self.home / name)
        self._start([sys.executable, "-m", "benchmarks.worker", "--join", self._joins[name], "--home", home, *kind])

    def add_legacy_worker(self) -> None:
        """Starts one of Dispatch's workers."""
        self._start([sys.executable, "-m", "benchmarks.legacy_worker", self.url])

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

    def wait(self, within_s: float) -> None:
        """Waits until the coordinator has ended by itself."""
        self._processes[0].wait(within_s)

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
