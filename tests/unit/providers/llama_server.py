"""llama.cpp's own HTTP server with the demo model: `python -m tests.unit.providers.llama_server KEY`.

Prints its address as one JSON line and serves until its input ends.
"""

from __future__ import annotations

import json
import sys

import xllamacpp

from cavvy.providers.llamacpp import find_weights


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = str(find_weights())
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [sys.argv[1]]
    params.n_parallel, params.n_ctx = 2, 4096
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.endpoint_slots, params.ui, params.verbosity = True, False, 0
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
