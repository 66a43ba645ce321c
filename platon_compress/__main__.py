"""`python -m platon_compress` is `platon-compress`."""

import sys

from platon_compress.cli import main

sys.exit(main())
