"""Pages in a real browser: both themes, desk and phone. Skipped where there is no Chromium, never in CI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

from analysis import compare, sheets
from analysis.frames import Frames
from tests.analysis.capacity.pages import fitted, searched
from tests.analysis.conftest import fake_run
from tests.analysis.test_history import shown
from tests.analysis.test_page import OTHER, built

DESK, PHONE = 1200, 390
HEIGHT = 900
LIGHT, DARK = "light", "dark"
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
CAPACITY = {"capacity, searched": searched, "capacity, fitted": fitted}
# The page says by the colour of a corner what only it knows. Its policy forbids scripts, so that goes first.
PROBE = """<div id="probe" style="position:fixed;left:0;top:0;width:8px;height:8px;z-index:99"></div>
<script>for (const each of ["load", "resize"]) addEventListener(each, () => {
  const d = document.documentElement, fits = d.scrollWidth <= d.clientWidth && innerWidth === WIDTH;
  document.getElementById("probe").style.background = fits ? "#00ff00" : "#ff0000";
})</script></body>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the browser's path."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found and "TALKLOAD_BROWSER" not in os.environ:
        pytest.skip("Chromium is not installed here (Debian: apt-get install chromium)")
    assert found, "continuous integration must have a browser"
    return found


@cache
def made(name: str, root: Path) -> Path:
    """Return a page by name, built once."""
    if name == "history":
        return sheets.build("history", shown(20, changed_at=10), root / name, "history")
    if name in CAPACITY:
        return CAPACITY[name](root / name)
    if name != "compare":
        return built(name, root)
    runs = [fake_run(root, n=3_000, ledger=3_000, slow=slow) for slow in (1.0, 1.5)]
    runs[0].manifest.id = OTHER
    there, here = (Frames(run) for run in runs)  # type: ignore[arg-type]
    return sheets.build("compare", compare.of_frames(there, here), root / name, "comparison")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a page by name."""
    root = tmp_path_factory.mktemp("browser")
    return lambda name: made(name, root)


def picture(chromium: str, page: Path, width: int, theme: str, folder: Path) -> NDArray[Any]:
    """Return what the browser shows of the page: height × width × colours, 0 to 1."""
    text = re.sub(r"<meta[^>]*Content-Security-Policy[^>]*>", "", page.read_text())
    probed = folder / "probed.html"
    probed.write_text(text.replace("</body>", PROBE.replace("WIDTH", str(width))))
    image = folder / "page.png"
    command = [chromium, *OPTIONS, f"--window-size={width},{HEIGHT}", f"--screenshot={image}"]
    command += [f"--blink-settings=preferredColorScheme={0 if theme == DARK else 1}"]
    with TemporaryDirectory(prefix="talkload-browser-") as profile:
        command += [f"--user-data-dir={profile}", probed.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=90)
    found: NDArray[Any] = matplotlib.image.imread(image)
    return found[:, :, :3]


def views() -> Iterator[tuple[str, int, str]]:
    """Yield what is looked at: the page of a run in every way, the others in those that differ the most."""
    yield from (("ordinary", width, theme) for width in (DESK, PHONE) for theme in (LIGHT, DARK))
    yield from (("capacity, searched", width, theme) for width in (DESK, PHONE) for theme in (LIGHT, DARK))
    for name in ("partial", "compare", "history", "capacity, fitted"):
        yield from ((name, PHONE, LIGHT), (name, DESK, DARK))


@pytest.mark.parametrize(("name", "width", "theme"), list(views()))
def test_a_page_is_shown(
    chromium: str, pages: Callable[[str], Path], tmp_path: Path, name: str, width: int, theme: str
) -> None:
    """In the colours of its theme, not blank, and never wider than the window."""
    seen = picture(chromium, pages(name), width, theme, tmp_path)
    assert seen.shape == (HEIGHT, width, 3)
    assert tuple(np.round(seen[2, 2], 1)) == (0.0, 1.0, 0.0), "wider than the window"
    background = seen[-3, 2]
    assert (background.mean() < 0.2) == (theme == DARK)
    differs = np.abs(seen - background).max(axis=2) > 0.05
    assert 0.02 < differs.mean() < 0.9
    assert len(np.unique((seen * 255).astype(np.uint8).reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("name", list(CAPACITY))
def test_the_page_of_a_capacity_needs_nothing_else(pages: Callable[[str], Path], name: str) -> None:
    """No address outside, no script, below 1.5 MB."""
    source = pages(name).read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|(?:src|href)=[\"'](?!#|data:)", source)
    assert "<script" not in source
    assert "@import" not in source
    assert len(source) < 1_500_000
