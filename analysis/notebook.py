"""Executes a py:percent notebook in a kernel of its own, and turns it into a page with a given template.

The libraries for it are imported where they are used, because the kernel, which draws, needs none of them
and would wait a second for them.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent
RUN_VARIABLE = "TALKLOAD_RUN"
"""Names the run in the environment of a script; never in that of our kernel, which has its parameters."""

TIMEOUT_S = 600  # a run of a hundred million rows takes minutes to read


class NotebookError(Exception):
    """A cell failed; the message is that of its exception."""


def execute(script: Path, parameters: dict[str, str], folder: Path) -> Any:
    """Return the notebook of a script as it is after all its cells ran in a folder."""
    notebook = _prepared(script, parameters)
    _execute(notebook, folder)
    return notebook


def _prepared(script: Path, parameters: dict[str, str]) -> Any:
    """Return the notebook of a py:percent script, with its parameters set and the same ids each time."""
    import jupytext

    notebook = jupytext.read(script, fmt="py:percent")
    notebook.metadata.pop("jupytext", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    return notebook


def _execute(notebook: Any, folder: Path) -> None:
    """Run the cells in a kernel of this very Python, reached through sockets that only we can open."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    with TemporaryDirectory(prefix="talkload-") as spare:
        manager = AsyncKernelManager(
            transport="ipc",
            ip=f"{spare}/k",
            connection_file=f"{spare}/kernel.json",
            # No folders: a kernel named python3 that somebody installed may be another Python.
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        )
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=TIMEOUT_S,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        # A profile of its own: nobody's start-up files run, and no history is kept.
        surroundings = {**os.environ, "PYTHONPATH": paths, "IPYTHONDIR": spare, "JUPYTER_CONFIG_DIR": spare}
        surroundings.pop(RUN_VARIABLE, None)
        try:
            client.execute(env=surroundings, cleanup_kc=True)
        except CellExecutionError as error:
            raise NotebookError(f"the notebook failed: {error.ename}: {error.evalue}") from error


def plain(notebook: Any) -> bytes:
    """Return the notebook as a file without anything that differs from one execution to the next."""
    import nbformat

    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return text.encode() + b"\n"


def to_html(notebook: Any, templates: Path, title: str, figures: str, itself: str) -> bytes:
    """Return the notebook as a page, drawn by the template `talkload` of that folder.

    figures, itself: names of the files beside the page that have its figures and the notebook.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="talkload", extra_template_basedirs=[str(templates)], exclude_anchor_links=True
    )
    resources = {"title": title, "figures": figures, "notebook": itself}
    page: str = exporter.from_notebook_node(notebook, resources=resources)[0]
    return ("\n".join(line for line in page.splitlines() if line.strip()) + "\n").encode()
