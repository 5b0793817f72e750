"""`python -m equinuclei` is the console command `equinuclei`."""

import sys

from equinuclei.cli.main import main

sys.exit(main())
