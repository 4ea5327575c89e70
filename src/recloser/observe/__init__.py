"""Listens to events. Nobody below knows that it is there."""
