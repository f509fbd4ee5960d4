"""The README's tables, each between its two marks, written from the committed records.

`make readme` does so, and writes what the reproduced items say beside them; a test fails while one
of these is stale.
"""

from __future__ import annotations

from pathlib import Path

from scratchconv.errors import ScratchconvError
from scratchconv.experiments.command import run_command
from scratchconv.experiments.discovery_table import discovery_table
from scratchconv.experiments.overview import overview
from scratchconv.experiments.paper_table import paper_table
from scratchconv.experiments.results_table import results_table
from scratchconv.experiments.speed_table import speed_table
from scratchconv.lab.scales import SCALES


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


def overview_pages(results: Path) -> list[Path]:
    """Where the overview of each scale stands that has a page."""
    return [results / name / "README.md" for name in SCALES if any(results.glob(f"{name}/*/*.md"))]


def main(readme: Path = Path("README.md"), results: Path = Path("results")) -> None:
    """Write the tables into the README, and the overview of every scale that has records.

    Args:
        readme: The file with the marks.
        results: Folder of the records.
    """
    text = with_tables(readme.read_text(encoding="utf-8"), results)
    readme.write_text(text, encoding="utf-8")
    for page in overview_pages(results):
        page.write_text(overview(page.parent), encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
