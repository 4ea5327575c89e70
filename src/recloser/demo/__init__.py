"""The demo: real processes, a scripted outage, and what came of it, told while it happens."""
