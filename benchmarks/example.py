"""Makes reports/example and docs/report.png anew: `make example`.

A run of `typical` against the reference server. It must pass, and is tried again where it does so with a
warning, as on a busy machine; of several the one with the fewest is taken. Nothing in it may name a folder of
the machine that made it. Its notebook is kept without outputs: they are what the page has already.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from analysis import verdict
from analysis.notebook import plain
from analysis.page import IPYNB

ROOT = Path(__file__).parent.parent
EXAMPLE, PICTURE = ROOT / "reports" / "example", ROOT / "docs" / "report.png"
ATTEMPTS = 3
LARGEST = 300_000
"""Bytes of samples: it is kept in the repository."""

BROWSER = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=1100,1860", "--blink-settings=preferredColorScheme=1"),
)


def main() -> None:
    with TemporaryDirectory(prefix="talkload-") as spare:
        run = _passing(Path(spare))
        size = sum(each.stat().st_size for each in run.glob("samples/*.parquet"))
        if size > LARGEST:
            sys.exit(f"{run.name}: {size} bytes of samples, at most {LARGEST} are kept")
        for name in ("manifest.json", "verdict.json", "report.html", "events.jsonl"):
            text = (run / name).read_text()
            if named := re.search(rf"(/home/|/root/|/tmp/|{re.escape(str(ROOT))})[^\s\"<]*", text):
                sys.exit(f"{name} names {named[0]}: nothing of this machine may be in the example")
        shutil.rmtree(EXAMPLE, ignore_errors=True)
        shutil.copytree(run, EXAMPLE, ignore=shutil.ignore_patterns(".lock"))
    _without_outputs(EXAMPLE / IPYNB)
    print(f"{EXAMPLE.relative_to(ROOT)}: {run.name}")
    _picture(EXAMPLE / "report.html")


def _passing(spare: Path) -> Path:
    """Return the folder of the run that passed with the fewest warnings; end the program where none did."""
    passed: list[tuple[int, Path]] = []
    for number in range(ATTEMPTS):
        out = spare / str(number)
        command = [sys.executable, "-m", "talkload", "run", "typical", "--out", str(out)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        folders = [each.parent for each in out.glob("*/verdict.json")]
        if not folders:
            sys.exit(f"there was no run: {(ended.stderr or ended.stdout).strip()[-300:]}")
        judged = verdict.read(folders[0])
        print(f"attempt {number + 1}: {judged.verdict}", *judged.warnings, sep="\n  ", flush=True)
        if ended.returncode == 0:
            passed.append((len(judged.warnings), folders[0]))
        if passed and not min(passed)[0]:
            break
    if not passed:
        sys.exit(f"none of {ATTEMPTS} runs passed")
    return min(passed)[1]


def _without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    path.write_bytes(plain(notebook))


def _picture(page: Path) -> None:
    """Take the picture of the README, where there is a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        print(f"no Chromium here: {PICTURE.relative_to(ROOT)} is the old one")
        return
    with TemporaryDirectory(prefix="talkload-browser-") as profile:
        target = [f"--user-data-dir={profile}", f"--screenshot={PICTURE}", page.as_uri()]
        subprocess.run([chromium, *BROWSER, *target], check=True, capture_output=True, timeout=90)
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
