"""From recloser.toml and the environment to settings: all problems at once, each with its key and line."""

from recloser.config.model import Config, StateSettings
from recloser.config.problems import BadConfigError, Problem

__all__ = ["BadConfigError", "Config", "Problem", "StateSettings"]
