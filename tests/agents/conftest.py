"""Real agents cost minutes and a download, so these tests run when they are asked for: `make agents`."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass them over, unless this folder or something in it is named on the command line."""
    named = (Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args)
    asked_for = any(path == HERE or HERE in path.parents for path in named)
    return None if asked_for or collection_path == HERE else True
