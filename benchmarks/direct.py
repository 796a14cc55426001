"""The model's own HTTP server, with no Cavvy in front: what `ttft_overhead_p50_ms` is compared with.

`python -m benchmarks.direct API_KEY` prints one JSON line with its address and serves until its input ends.
"""

from __future__ import annotations

import json
import sys

import xllamacpp

from cavvy import defaults
from cavvy.providers.llamacpp import find_weights


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = str(find_weights())
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [sys.argv[1]]
    params.n_parallel, params.n_ctx = 1, defaults.LLAMACPP_CONTEXT_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = defaults.LLAMACPP_THREADS
    params.ui, params.verbosity = False, 0
    server = xllamacpp.Server(params)
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
