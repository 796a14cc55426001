"""Runs one command and sees to it that nothing of it is left: started as `python -I -S command_child.py …`.

Arguments: the worker's process id, the seconds from TERM to KILL, the folder to run in, then the command. stdin,
stdout, stderr and the environment are the command's. It ends when the command does, as the command did, or when it is
told to (TERM) or the worker dies. What the command started is ended too, TERM first and then KILL, even if it left its
process group: on Linux this process inherits every orphan below it. Then the folder is removed.

On Linux the command cannot reach into the folders of other jobs, nor signal a process that is not its own (Landlock,
https://docs.kernel.org/userspace-api/landlock.html, from kernel 5.19 and 6.12 on). Only the standard library is here.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

LOOK_EVERY_S = 0.05
FOLDERS = "cavvy-jobs-"  # how the directories are called in which workers keep their jobs' folders
LINUX = sys.platform == "linux"

_TOLD = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_WATCHED = _TOLD | {signal.SIGCHLD}

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_VERSION, _LANDLOCK_PATH_BENEATH, _LANDLOCK_SCOPE_SIGNAL = 1, 1, 2
_REFER_ABI, _TRUNCATE_ABI, _SIGNAL_ABI = 2, 3, 6
_FILE_RIGHTS = 0b111  # execute, write, read
_DIRECTORY_RIGHTS = (1 << 14) - 1  # and list, remove, make each kind of thing, move between directories
_TRUNCATE = 1 << 14


def main() -> NoReturn:
    worker, kill_after_s, folder, command = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    if LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != worker:
            raise SystemExit(1)
    child = os.fork()
    if child == 0:
        _become(folder, command)
    status = _watch(child)
    _end_all(kill_after_s)
    shutil.rmtree(folder, ignore_errors=True)
    _end_like(status)


def _become(folder: Path, command: list[str]) -> NoReturn:
    """The child: confines itself and turns into the command."""
    try:
        os.chdir(folder)
        if LINUX:
            _confine(folder)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        os.execvp(command[0], command)  # noqa: S606 - running what the owner configured is its purpose
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    os._exit(127)


def _watch(child: int) -> int:
    """Waits for the command's end or for being told to end it; its wait status, TERM's if it was told."""
    while True:
        if signal.sigwait(_WATCHED) in _TOLD:
            return signal.SIGTERM
        for pid, status in _reaped():
            if pid == child:
                return status


def _end_all(kill_after_s: float) -> None:
    """Returns when nothing below this process lives any more."""
    ends_s = time.monotonic() + kill_after_s
    number = signal.SIGTERM
    told: set[int] = set()
    while left := _below():
        for pid in left - told if number is signal.SIGTERM else left:
            _signal(pid, number)
        told |= left
        signal.sigtimedwait({signal.SIGCHLD}, LOOK_EVERY_S)
        if time.monotonic() >= ends_s:
            number = signal.SIGKILL


def _below() -> set[int]:
    """The processes that descend from this one and live; elsewhere than on Linux its group, as one."""
    ended = [pid for pid, _ in _reaped()]
    if not LINUX:
        return set() if ended and _childless() else {0}
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    look = [os.getpid()]
    while look:
        new = [pid for pid in children.get(look.pop(), ()) if pid not in found]
        found.update(new)
        look += new
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """Every process and its parent, zombies left out."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(") ")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if state not in "ZX":
                yield int(name), int(parent)


def _reaped() -> Iterator[tuple[int, int]]:
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, status
    except ChildProcessError:
        return


def _childless() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] == -1
    except ChildProcessError:
        return True


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return


def _end_like(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if not os.WIFSIGNALED(status) else 1)


# -- Linux


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _confine(folder: Path) -> None:
    """Takes other jobs' folders out of reach and leaves all else; nothing where the kernel cannot do it."""
    libc = ctypes.CDLL(None)
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < _REFER_ABI:
        return
    truncate = _TRUNCATE if version >= _TRUNCATE_ABI else 0
    scoped = _LANDLOCK_SCOPE_SIGNAL if version >= _SIGNAL_ABI else 0
    # The kernel refuses a longer structure than it knows unless what it does not know is zero.
    attributes = struct.pack("=QQQ", _DIRECTORY_RIGHTS | truncate, 0, scoped)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return
    for path in _reachable(folder):
        _allow(libc, ruleset, path, truncate)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _reachable(folder: Path) -> Iterator[Path]:
    """The folder, and beside the way to it everything: a rule holds for all that is below its path."""
    yield folder
    way = folder.resolve()
    for directory in list(way.parents)[1:]:
        inside = next(part for part in (way, *way.parents) if part.parent == directory)
        for entry in directory.iterdir():
            if entry != inside and not entry.name.startswith(FOLDERS):
                yield entry


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, truncate: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)  # a link could lead around the whole rule
    except OSError:
        return
    directory = stat.S_ISDIR(os.fstat(handle).st_mode)
    rights = (_DIRECTORY_RIGHTS if directory else _FILE_RIGHTS) | truncate
    libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    os.close(handle)


if __name__ == "__main__":
    main()
