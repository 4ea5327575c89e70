"""`python -m recloser`."""

import sys

from recloser.cli import main

sys.exit(main())
