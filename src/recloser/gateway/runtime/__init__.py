"""Performs what exchanges ask: sockets, timers, processes. Thin, so that what is decided stays testable elsewhere."""
