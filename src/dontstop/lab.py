"""`make lab`: JupyterLab on the checkout, whose notebooks stay as they are committed however often they are saved."""

import json
import os
import re
from pathlib import Path

# The study's own; a copy under another name, and any other notebook, keeps its outputs.
_OURS = re.compile(r"notebooks/(?:solutions/)?\d\d_\w+\.ipynb")


def environment() -> dict[str, str]:
    """Return the environment to start it in: `labconfig/` turns off the question whether to fetch Jupyter's news."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    return {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}


def arguments(root: Path) -> list[str]:
    """Return what JupyterLab is started with: the checkout in reach, `notebooks/` in sight, no other host asked."""
    options = {
        "ServerApp.root_dir": root,
        "ServerApp.jpserver_extensions": f"{__name__}=True",
        "ServerApp.log_level": "WARN",  # the address to open is said all the same
        "LabApp.default_url": "/lab/tree/notebooks",
        "LabApp.news_url": None,
        "LabApp.extension_manager": "readonly",
    }
    root_user = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [*(f"--{name}={value}" for name, value in options.items()), *root_user]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server) -> None:
    server.contents_manager.register_pre_save_hook(save_as_committed)


def save_as_committed(model: dict, path: str, contents_manager, **_) -> None:
    """Leave out of one of the study's notebooks, before it is saved, all that running it changes.

    Outputs go, but for those that are committed (of cells of checks); execution counts go on from one; the metadata
    stay as they are on disk. Else a saved notebook would be another to git, and to DVC, which would execute it again.

    Args:
        model: What JupyterLab saves: `type`, and a notebook's `content`, which is changed in place.
        path: From the server's root folder.
        contents_manager: Its `root_dir` is that folder.
    """
    file = Path(contents_manager.root_dir) / path
    if model["type"] != "notebook" or not _OURS.fullmatch(path.strip("/")) or not file.is_file():
        return
    before, content = json.loads(file.read_text(encoding="utf-8")), model["content"]
    outputs = {cell["id"]: cell["outputs"] for cell in before["cells"] if cell["cell_type"] == "code"}
    content["metadata"] = before["metadata"]
    code = (cell for cell in content["cells"] if cell["cell_type"] == "code")
    for count, cell in enumerate(code, start=1):
        is_kept = "keep_output" in cell["metadata"].get("tags", [])
        cell |= {"execution_count": count, "outputs": outputs.get(cell["id"], []) if is_kept else []}
