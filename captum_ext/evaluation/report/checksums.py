"""What was run on what, as checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

from captum_ext.evaluation.result import Evaluation
from captum_ext.evaluation.store.folder import content_of
from captum_ext.evaluation.store.identity import digest_of_source


def checksums(found: Evaluation) -> dict[str, str]:
    """SHA-256 of what was run on what."""
    seen = "".join(f"{one.position} {one.digest}\n" for one in found.seen)
    return {
        "model (kind, and first digits of weights and code)": str(found.settings.get("model")),
        **{f"file of {what}, {file.name}": _of_file(file) for what, file in found.files.items()},
        f"images ({len(found.seen)}, by position and pixels)": hashlib.sha256(
            seen.encode()
        ).hexdigest(),
        "source of captum_ext": digest_of_source("captum_ext"),
    }


def _of_file(file: Path) -> str:
    try:
        return str(content_of(file)["sha256"])
    except OSError as error:
        return f"not read: {error.strerror}"
