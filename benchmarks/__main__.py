"""Prints the table, or with JSON=1 a line a row; ONLY=name measures one row."""

from __future__ import annotations

import json
import os
import sys

from benchmarks.disk import measure_fsync
from benchmarks.rows import ROWS
from benchmarks.stack import BENCH_DIR


def main() -> int:
    only, as_json = os.environ.get("ONLY"), bool(os.environ.get("JSON"))
    if only and only not in ROWS:
        print(f"There is no row {only!r}; rows are: {', '.join(ROWS)}.", file=sys.stderr)
        return 2
    BENCH_DIR.mkdir(exist_ok=True)
    for name in [only] if only else list(ROWS):
        fsync = measure_fsync(BENCH_DIR)
        figure = ROWS[name]()
        if as_json:
            line = {"name": name, "value": round(figure.value, 3), "unit": figure.unit}
            print(json.dumps({**line, "fsync_p50_ms": round(fsync.p50_ms, 3)}), flush=True)
        else:
            print(f"{name:28} {figure.value:10.1f} {figure.unit:9} (target {figure.target})   {figure.note}")
            print(f"{'':28} fsync p50 {fsync.p50_ms:.2f} ms, p99 {fsync.p99_ms:.2f} ms", end="   ")
            print(f"repeat: make bench ONLY={name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
