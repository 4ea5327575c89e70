"""The version, where the build and the command both read it."""

__version__ = "0.1.0.dev0"
