"""Lets the tests of this folder import `original_files`, which writes small datasets."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
