"""Studies are plain scripts: their folder goes on the path, as when one of them is started."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
