"""`make bench`: the whole stack in separate processes over real sockets. Each row says how to repeat it."""
