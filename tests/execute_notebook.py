"""Executes a notebook in the current directory: ``python execute_notebook.py FROM TO``."""

import sys

import nbformat
from nbclient import NotebookClient

if __name__ == "__main__":
    source, target = sys.argv[1:]
    notebook = nbformat.read(source, as_version=4)
    NotebookClient(notebook, timeout=500, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        if cell.cell_type == "code":  # progress, with its times, is on standard error
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, target)
