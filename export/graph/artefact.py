"""What an exported model is on disk: a folder of version folders, each a SavedModel.

Beside TensorFlow's own files a version has `assets.extra`, which servers leave alone: the model
card, checksums, TensorFlow Serving's warm-up requests and what `export.verify` compares with.
"""

from __future__ import annotations

import hashlib
import json
import pathlib

__all__ = [
    "AGREEMENTS",
    "CARD",
    "CHECKSUMS",
    "EXTRA",
    "VERIFICATION",
    "WARMUP",
    "ExportError",
    "checksums",
    "describe",
    "version_folder",
    "versions",
]

EXTRA = "assets.extra"
CARD = "model_card.json"
CHECKSUMS = "SHA256SUMS"
VERIFICATION = "verification.npz"
WARMUP = "tf_serving_warmup_requests"


# Images are in [0, 1]; gradients are relative, in the Euclidean norm: folding rounds, and a
# rounding closes or opens some ReLU.
AGREEMENTS = {
    "float32": {"agreement": 1e-5, "gradient_agreement": 2e-2},
    "mixed_bfloat16": {"agreement": 2e-2, "gradient_agreement": 0.2},
}
"""By the precision of an export, how far its answers may be from those of the Keras model."""


class ExportError(ValueError):
    """What was asked for cannot be exported; the message says what to do."""


def checksums(folder: pathlib.Path) -> str:
    """SHA-256 of every file of a version folder, as `sha256sum` writes and checks them.

    Args:
        folder: version folder.

    Returns:
        One line a file, sorted, with paths relative to `folder`; the list's own file is
        left out.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
        if path != folder / EXTRA / CHECKSUMS
    )


def versions(out: pathlib.Path) -> list[int]:
    """Numbers of the version folders of a served model.

    Args:
        out: its folder.

    Returns:
        Numbers, in no order.
    """
    return [int(path.name) for path in out.iterdir() if path.name.isdecimal()]


def version_folder(folder: pathlib.Path) -> pathlib.Path:
    """The newest version in the folder of a served model; a version folder is itself.

    Args:
        folder: either.

    Returns:
        The version folder.

    Raises:
        ExportError: if there is no exported model.
    """
    if folder.is_dir() and not (folder / "saved_model.pb").is_file():
        versions = [path for path in folder.iterdir() if path.name.isdecimal()]
        folder = max(versions, key=lambda path: int(path.name), default=folder)
    for needed in ("saved_model.pb", f"{EXTRA}/{CHECKSUMS}", f"{EXTRA}/{VERIFICATION}"):
        if not (folder / needed).is_file():
            raise ExportError(
                f"A model exported by export.saved_model is needed. Received: {str(folder)!r}, "
                f"without {needed}."
            )
    return folder


def describe(folder: pathlib.Path) -> str:
    """A few lines on an exported version: what it answers to, and what is fixed in it.

    Args:
        folder: version folder.

    Returns:
        Lines without a newline at the end.
    """
    card = json.loads((folder / EXTRA / CARD).read_text())
    export = card["export"]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{folder}: {card['name']}, {size / 1e6:.1f} MB",
        f"solves: rtol {export['rtol']:g}, at most {export['max_steps']} steps; "
        f"networks in {export.get('dtype', 'float32')}; "
        f"at most {export['max_megapixels']:g} megapixels",
    ]
    for name, signature in card["signatures"].items():
        inputs, outputs = (
            ", ".join(f"{key} {x['dtype']} {x['shape']}" for key, x in signature[side].items())
            for side in ("inputs", "outputs")
        )
        lines.append(f"{name}: {inputs} -> {outputs}".replace("None", "?"))
    return "\n".join(lines)
