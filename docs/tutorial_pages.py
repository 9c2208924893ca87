"""MkDocs hook: the notebooks of tutorials/ as pages, with the outputs they were saved with."""

import base64
import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

TUTORIALS = Path(__file__).parents[1] / "tutorials"


def on_files(files: Files, config: Any) -> Files:
    """Adds one page per notebook, and its pictures as files beside it."""
    for file in sorted(TUTORIALS.glob("*.ipynb")):
        page, pictures = as_markdown(file)
        uri = f"tutorials/{file.stem}.md"
        files.append(File.generated(config, uri, content=page))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=picture))
    return files


def as_markdown(file: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and the pictures that it shows by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(file.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```")
            for output in cell["outputs"]:
                parts.append(_shown(output, file.stem, pictures))
    return "\n\n".join(part for part in parts if part), pictures


def _shown(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> str:
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    data = output.get("data", {})
    for kind in ("png", "jpeg"):
        if f"image/{kind}" in data:
            name = f"{stem}_{len(pictures) + 1}.{kind}"
            pictures[name] = base64.b64decode("".join(data[f"image/{kind}"]))
            return f"![Output of the cell above]({name})"
    if "text/plain" in data:
        return f"```text\n{''.join(data['text/plain'])}\n```"
    return ""
