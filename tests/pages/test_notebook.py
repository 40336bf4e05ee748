"""The notebook runs from its first cell to its last, and shows what it says."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbclient is needed: make test-pages")
nbclient = pytest.importorskip("nbclient", reason="nbclient is needed: make test-pages")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


# Sockets and event loops of Jupyter that are closed late are not ours.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_runs_to_its_end(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.outputs = []
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    texts = ["".join(out.text for out in cell.outputs if out.output_type == "stream") for cell in cells]
    kinds = [{kind for out in cell.outputs if "data" in out for kind in out.data} for cell in cells]
    assert "hidden patches of 196: [147 147 147 147]" in texts[3] and "masked" in texts[4]
    assert "| home | " in texts[6] and "- scored: 8 videos, 32 frames" in texts[6]
    assert "pd_nasa_astronaut_pan.mp4        32     32 of 32" in texts[7]
    assert sum(bool(kind & {"image/png", "image/jpeg"}) for kind in kinds) == 5
    # The file that is taken along says what the detector said.
    loaded, before = re.search(r"P\(real\) ([\d.]+), before ([\d.]+)", texts[-1]).groups()
    assert abs(float(loaded) - float(before)) <= 1e-4


def test_what_is_stored_names_no_machine(notebook):
    text = NOTEBOOK.read_text()
    assert "/home/" not in text and "/tmp/" not in text and "Traceback" not in text
    assert all(cell.outputs or "import" in cell.source for cell in notebook.cells if cell.cell_type == "code")
