"""Failure on purpose: the fault-injecting provider, and what it can get wrong."""
