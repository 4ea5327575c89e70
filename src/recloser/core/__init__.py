"""Decides: pure functions of values, on the standard library alone.

Nothing here reads a clock, sleeps, locks, logs or draws a random number; time and randomness are arguments.
"""
