"""``python -m scratchconv`` is the command ``scratchconv``."""

from scratchconv.cli import main

main()
