"""The quick tour: the notebook runs from top to bottom, and prints what stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).parents[3] / "docs" / "learn" / "quick-tour.ipynb"
LARGEST = 300_000  # bytes


def printed(notebook) -> list[str]:
    """What each cell printed, with # for numbers, which differ a little between machines."""
    found = []
    for cell in notebook.cells:
        streams = [out for out in cell.get("outputs", ()) if out.output_type == "stream"]
        text = "".join(out.text for out in streams if out.name == "stdout")
        found.append(re.sub(r"\s*[\d.,]+(e-\d+)?", " #", text))
    return found


def shown(notebook) -> list[set[str]]:
    """The kinds of results that each cell shows, such as pictures."""
    results = ("display_data", "execute_result")
    return [
        {kind for out in cell.get("outputs", ()) if out.output_type in results for kind in out.data}
        for cell in notebook.cells
    ]


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_small_and_was_run(committed):
    nbformat.validate(committed)
    assert NOTEBOOK.stat().st_size < LARGEST
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not re.search(r"/(home|tmp|root|work)/", NOTEBOOK.read_text())


def test_it_runs_and_prints_what_stands_in_it(committed, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = nbclient.NotebookClient(
        fresh,
        timeout=300,
        startup_timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.create_kernel_manager()
    client.km.transport = "ipc"  # Unix sockets: nothing listens on the network
    client.km.ip = str(tmp_path_factory.mktemp("k") / "k")  # their path, which must be short
    client.execute()
    assert printed(fresh) == printed(committed)
    assert shown(fresh) == shown(committed)
    assert (tmp_path / "runs" / "mine" / "best" / "config.json").is_file()
