"""``python -m tbcache`` is the same as ``tbcache``."""

import sys

from tbcache.cli import main

sys.exit(main())
