"""What the commands' exit codes mean."""

OK = 0
FAILED = 1
USAGE = 2
CONFIG = 78
