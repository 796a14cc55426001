"""What may be said in a log: what happened, where and to which job; never a prompt, an output or a key.

`get_logger` is for our own modules and holds whatever an embedder configured. `configure` sets up a whole process.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

from cavvy.errors import StartError, StoreError

__all__ = ["LibraryLogger", "Logger", "configure", "get_logger", "place", "redact", "told", "without_keys"]

_SECRET = re.compile(
    r"(?P<cavvy>cav_[a-z]{2,4}_)\w+"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[^\s'\",]+"
    r"|\b(?P<vendor>(?:sk|pk|rk|gsk|xai|hf|ghp|AIza)[-_]?)[\w-]{16,}",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_LONGEST = 500


def without_keys(text: str) -> str:
    """`text`, and in place of what looks like a key only how it begins."""
    return _SECRET.sub(lambda found: next(filter(None, found.groups())) + "…", text)


def redact(text: str) -> str:
    """`text` on one line, without anything that looks like a key or moves a terminal's cursor, and not too long."""
    hidden = _CONTROL.sub(" ", without_keys(text))
    return hidden if len(hidden) <= _LONGEST else hidden[:_LONGEST] + "…"


def told(error: BaseException) -> str:
    """The error's kind; its words only if they are ours or the system's: others may quote what was asked."""
    if isinstance(error, (StartError, StoreError)) or type(error).__module__ == "sqlite3":
        return redact(f"{type(error).__name__}: {error}")
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__


def place(error: BaseException) -> str:
    """Where in a message something is wrong, as msgspec says it; not what stands there."""
    return str(error).partition(" - at `")[2].strip("`") or type(error).__name__


def trace(error: BaseException | None) -> str:
    """Each error of the chain and the lines of code it came through: no values, no words of others."""
    lines: list[str] = []
    while error is not None and len(lines) < 200:
        lines.append(told(error))
        frames = traceback.extract_tb(error.__traceback__)
        lines += [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in reversed(frames[-30:])]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(lines)


class Logger:
    """A structlog logger that is told only what may be said, however structlog is configured."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def debug(self, event: str, **fields: Any) -> None:
        self._inner.debug(event, **_safe(fields))

    def info(self, event: str, **fields: Any) -> None:
        self._inner.info(event, **_safe(fields))

    def warning(self, event: str, **fields: Any) -> None:
        self._inner.warning(event, **_safe(fields))

    def error(self, event: str, **fields: Any) -> None:
        self._inner.error(event, **_safe(fields))

    def critical(self, event: str, **fields: Any) -> None:
        self._inner.critical(event, **_safe(fields))

    def exception(self, event: str, **fields: Any) -> None:
        """The error that is being handled goes with it."""
        self.error(event, exc_info=True, **fields)


def get_logger(name: str | None = None) -> Logger:
    return Logger(structlog.get_logger(name) if name else structlog.get_logger())


class LibraryLogger(logging.Logger):
    """Stands in for a library's own logger: warnings and worse go to `get_logger`, reduced to their first words."""

    def __init__(self, name: str) -> None:
        super().__init__(name, logging.WARNING)
        self.propagate = False
        self.addHandler(_Reduced())


class _Reduced(logging.Handler):
    """Logs a record of the standard library's logging: its template, never what was filled in."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        words = re.split(r"[\n<(:%]", str(record.msg), maxsplit=1)[0].strip()
        fields: dict[str, Any] = {"logger": record.name}
        if error is not None:
            fields["exc_info"] = error
        log = get_logger()
        (log.error if record.levelno >= logging.ERROR else log.warning)(words or "message", **fields)


class _Lossy(io.TextIOBase):
    """Drops what cannot be written: no disk that is full and no terminal that was closed keeps jobs from their end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def configure(stream: TextIO | None = None) -> None:
    """Sends everything this process logs to `stream` (stderr), a line an event; uncaught errors, too.

    What `stream` does not take is dropped.
    """
    stream = stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.add_log_level,
            _redacted,
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lossy(stream))),
    )
    root = logging.getLogger()
    root.handlers[:] = [_Reduced(logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = lambda fault: _uncaught(fault.exc_type, fault.exc_value, fault.exc_traceback)
    threading.excepthook = lambda fault: _uncaught(fault.exc_type, fault.exc_value, fault.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if not issubclass(kind, (KeyboardInterrupt, SystemExit)):
        get_logger().critical("uncaught", exc_info=error)


def _safe(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, redacted; an error is told as its trace."""
    fault = fields.pop("exc_info", None)
    made = {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()}
    if fault:
        made["exception"] = trace(fault if isinstance(fault, BaseException) else sys.exc_info()[1])
    return made


def _redacted(_: Any, __: str, event: Any) -> Any:
    """For whoever logs past `Logger`."""
    fault = event.pop("exc_info", None)
    if fault:
        event["exception"] = trace(fault if isinstance(fault, BaseException) else sys.exc_info()[1])
    return {name: redact(value) if isinstance(value, str) and name != "exception" else value
            for name, value in event.items()}  # fmt: skip
