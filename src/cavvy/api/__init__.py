"""The HTTP and WebSocket outside: parse, authenticate, turn into commands. No decisions."""
