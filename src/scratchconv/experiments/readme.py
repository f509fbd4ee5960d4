"""The README's tables, each between its two marks, written from the committed records.

`make readme` does so; a test fails while the README is stale.
"""

from __future__ import annotations

from pathlib import Path

from scratchconv.errors import ScratchconvError
from scratchconv.experiments.command import run_command
from scratchconv.experiments.discovery_table import discovery_table
from scratchconv.experiments.paper_table import paper_table
from scratchconv.experiments.results_table import results_table
from scratchconv.experiments.speed_table import speed_table


def with_tables(readme: str, results: Path) -> str:
    """`readme` with its tables as the records in the folder `results` have them.

    Raises ScratchconvError for a missing mark or record.
    """
    readme = _between("results", readme, results_table(results / "laptop"))
    readme = _between("paper", readme, paper_table(results / "laptop"))
    readme = _between("speed", readme, speed_table(results / "bench"))
    return _between("discovery", readme, discovery_table(results / "discovery"))


def _between(name: str, readme: str, table: str) -> str:
    begin, end = f"<!-- {name}: written by make readme -->", f"<!-- end of {name} -->"
    before, found, rest = readme.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ScratchconvError(f"the README lacks its marks {begin!r} and {end!r}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def main(readme: Path = Path("README.md"), results: Path = Path("results")) -> None:
    """Write the tables into the README.

    Args:
        readme: The file with the marks.
        results: Folder of the records.
    """
    text = with_tables(readme.read_text(encoding="utf-8"), results)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
