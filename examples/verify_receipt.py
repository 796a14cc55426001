"""Check a worker's signed statement about a result without trusting the coordinator. Start one first: `cavvy up`."""

from cavvy import Cavvy

with Cavvy() as cavvy:
    job = cavvy.run("Say hello.", max_tokens=20)
    envelope = cavvy.receipt(job.id)  # the exact bytes: keep them, and the result's
    result = cavvy.result(job.id)
    worker = cavvy.worker(job.attempts[-1].worker_id or "")

# From here on nobody is asked. Who gave you the worker's key is whom you trust.
payload = envelope.verify(key=worker.key, result=result)
print(f"receipt: valid; {payload.model} answered at {payload.completed_at}")
