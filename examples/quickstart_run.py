"""Ask one question and print the answer. Start a coordinator first: `cavvy up`."""

from cavvy import Cavvy

with Cavvy() as cavvy:
    job = cavvy.run("What is the capital of France?", temperature=0)
    print(job.output)
    print(f"by {job.served_model}, job {job.id}")
