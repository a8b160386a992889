"""`python -m sentinel_research` is `sentinel`."""

import sys

from sentinel_research.cli import main

sys.exit(main())
