"""`python -m mcinterp.cli`."""

import sys

from mcinterp.cli import main

sys.exit(main())
