"""Pages opened in a real browser, without a network: nothing is missing, and nothing runs over."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from test_discovery_page import findings as found_on
from test_discovery_page import found_nothing, lying_on, on_grid

from scratchconv.discovery.recovery import true_grid_edges
from scratchconv.report import page as report_page
from scratchconv.report.discovery_page import write_discovery

NAMES = "chromium", "chromium-browser", "google-chrome"
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

# Pages forbid scripts; this one is put in by the test, which lifts that.
_PROBE = """
<script>
addEventListener("load", () => {
  const root = document.documentElement;
  const seen = {
    loaded: performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 40)),
    broken: [...document.images].filter(image => !image.naturalWidth).length,
    images: document.images.length,
    drawn: [...document.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect().height),
    over: root.scrollWidth - root.clientWidth,
    text: document.body.innerText,
  };
  root.setAttribute("data-seen", encodeURIComponent(JSON.stringify(seen)));
});
</script>
"""


def seen_in_browser(page: Path, width: int) -> dict[str, Any]:
    """What a browser makes of `page` in a window of `width` pixels."""
    html, policies = re.subn(
        r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8")
    )
    assert policies == 1
    probed = page.with_name("probed.html")
    probed.write_text(html.replace("</head>", f"{_PROBE}</head>", 1), encoding="utf-8")
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *(f"--user-data-dir={page.with_name('profile')}", f"--window-size={width},900"),
            *("--enable-logging=stderr", "--dump-dom", probed.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    reported = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert reported is not None, done.stdout[:300]
    seen: dict[str, Any] = json.loads(unquote(reported[1]))
    return seen


def assert_whole(seen: dict[str, Any]) -> None:
    assert all(name.startswith("data:") for name in seen["loaded"])
    assert seen["broken"] == 0
    assert all(height > 0 for height in seen["drawn"])
    assert seen["over"] <= 0


@pytest.mark.parametrize("width", [500, 1280])
def test_a_page_of_discover(tmp_path, width):
    found = on_grid()
    rows = np.random.RandomState(0).rand(3, found.columns)
    page = write_discovery(found, tmp_path / "page.html", title="Sensors", examples=rows)
    seen = seen_in_browser(page, width)
    assert_whole(seen)
    assert seen["images"] > 0
    assert seen["drawn"]
    assert "Your 90 columns lie on a grid of 5 × 6 positions" in seen["text"]


@pytest.mark.parametrize("kind", ["line", "none"])
def test_pages_of_other_findings(tmp_path, kind):
    line = found_on(lying_on("line", (95,)), true_grid_edges(95))
    found = line if kind == "line" else found_nothing()
    page = write_discovery(found, tmp_path / "page.html", title="Sensors")
    seen = seen_in_browser(page, 900)
    assert_whole(seen)
    assert ("No structure" in seen["text"]) == (kind == "none")


@pytest.mark.parametrize("width", [500, 1280])
def test_a_report_of_runs(make_run, tmp_path, width):
    runs = [make_run("one"), make_run("two", method="sgd", density=1.0)]
    page = report_page.write(runs, tmp_path / "report.html", title="Two runs")
    seen = seen_in_browser(page, width)
    assert_whole(seen)
    assert seen["images"] > 0
    assert "Two runs" in seen["text"]
