"""The pure core: no I/O, no clock, no dice of its own. Time and randomness are arguments."""
