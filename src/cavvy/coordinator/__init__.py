"""The coordinator's asyncio shells around the pure core: engine, sessions, hub."""
