"""Print an answer while it is written, asynchronously. Start a coordinator first: `cavvy up`."""

import asyncio

from cavvy import AsyncCavvy


async def main() -> None:
    async with AsyncCavvy() as cavvy, cavvy.stream("Name three breeds of horses.", max_tokens=60) as stream:
        async for delta in stream:
            print(delta.text, end="", flush=True)
        job = await stream.result()
    print(f"\n{job.usage.output_tokens if job.usage else '?'} tokens")


asyncio.run(main())
