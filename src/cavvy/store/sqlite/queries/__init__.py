"""Named SQL: each `.sql` file here is a list of statements, each below a line `-- name: …`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

__all__ = ["load"]

_HEADER = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(name: str) -> Mapping[str, str]:
    """The statements of `{name}.sql` by their names."""
    text = resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _HEADER.split(text)
    return dict(zip(parts[::2], (sql.strip() for sql in parts[1::2]), strict=True))
