"""Model cards: what is known of weights. Nothing here waits for TensorFlow.

A card is a dictionary that JSON holds. The weights that ship have theirs in
`deepam_tf/restoration/weights/NAME.json`, a folder of `save_pretrained` has `card.json`, and
beside it the same in words, `README.md`, in the form of model cards (Mitchell et al., "Model
cards for model reporting", FAT* 2019) with the metadata block that model hubs read.
"""

from __future__ import annotations

import difflib
import json
import os
import pathlib
from typing import Any

__all__ = [
    "card_page",
    "figures",
    "list_pretrained",
    "noise_range",
    "pretrained_card",
    "restores",
    "weights_file",
]

FOLDER = pathlib.Path(__file__).parent / "weights"
CARD_FILE, PAGE_FILE, WEIGHTS_FILE = "card.json", "README.md", "weights.npz"
_FIGURES = {
    "psnr": "{:.2f} dB",
    "ssim": "SSIM {:.4f}",
    "bad_matching_percentage": "bad {:.2f} %",
    "rmse": "RMSE {:.2f}",
}
_UNKNOWN = "Nothing was said of it."


def list_pretrained() -> list[str]:
    """Names of the weights that `load_pretrained` takes.

    Returns:
        Names, sorted.

    Example:
        >>> "denoise_gray_s25" in deepam_tf.list_pretrained()
        True
    """
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def _files(name: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
    """The card's file and the weights' one."""
    if isinstance(name, str) and name in list_pretrained():
        return FOLDER / f"{name}.json", FOLDER / f"{name}.npz"
    folder = pathlib.Path(name)
    if (folder / CARD_FILE).is_file():
        return folder / CARD_FILE, folder / WEIGHTS_FILE
    near = difflib.get_close_matches(str(name), list_pretrained(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"The name must be one of {list_pretrained()}, or a folder that `save_pretrained` wrote. "
        f"Received: {str(name)!r}.{hint}"
    )


def weights_file(name: str | os.PathLike) -> pathlib.Path:
    """The file that holds the values.

    Args:
        name: one of `list_pretrained()`, or a folder that `save_pretrained` wrote.

    Returns:
        Its path.

    Raises:
        ValueError: if there is no such name; the message suggests the nearest.

    Example:
        >>> deepam_tf.restoration.cards.weights_file("denoise_gray").name
        'denoise_gray.npz'
    """
    return _files(name)[1]


def pretrained_card(name: str | os.PathLike) -> dict[str, Any]:
    """What is known of a set of weights.

    Args:
        name: one of `list_pretrained()`, or a folder that `save_pretrained` wrote.

    Returns:
        The card: `model` (arguments of `DeepAM`) and `sha256`; of weights that ship also
        `task`, `license`, `noise_stddev` (or its range; absent where the data have no noise),
        `training`, `results`, `intended_use`, `limits`.

    Raises:
        ValueError: if there is no such name, or the folder's card is damaged; the message
            suggests the nearest name.

    Example:
        >>> deepam_tf.pretrained.pretrained_card("denoise_gray_s25")["model"]["num_iterations"]
        3
    """
    path = _files(name)[0]
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(card["model"], dict) or not isinstance(card["sha256"], str):
            raise TypeError("`model` and `sha256` are of another type")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: a card is JSON with `model` and `sha256`. Received: {error}. Write the "
            "folder again with `save_pretrained`."
        ) from error
    return card


def noise_range(name: str | os.PathLike) -> tuple[float, float]:
    """The least and the largest noise level that weights were trained for.

    Args:
        name: one of `list_pretrained()`, or a folder that `save_pretrained` wrote.

    Returns:
        Standard deviations in units of [0, 1]; equal for weights of one level.

    Raises:
        ValueError: if there is no such name, or it is of weights for something else than noise.

    Example:
        >>> low, high = deepam_tf.pretrained.noise_range("denoise_gray_s25")
        >>> low == high == 25 / 255
        True
    """
    level = pretrained_card(name).get("noise_stddev")
    if level is None:
        raise ValueError(
            "The weights must be trained to remove noise, and their card say `noise_stddev`. "
            f"Received: {str(name)!r}."
        )
    low, high = level if isinstance(level, list) else (level, level)
    return low, high


def restores(card: dict[str, Any]) -> str:
    """What weights restore and by what they are guided, in a few words.

    Args:
        card: a card.

    Returns:
        `gray`, `colour`, `colour + NIR`, `depth + RGB`, or the numbers of channels.
    """
    model = card["model"]
    image, guide = model.get("image_channels", 1), model.get("guide_channels", 0)
    if model.get("mask"):
        return "depth + RGB" if guide == 3 else f"depth + {guide} ch." if guide else "depth"
    words = {1: "gray", 3: "colour"}.get(image, f"{image} channels")
    return f"{words} + NIR" if guide == 1 else f"{words} + {guide} ch." if guide else words


def figures(result: dict[str, float]) -> str:
    """The figures of one test set, with their units.

    Args:
        result: a value of a card's `results`.

    Returns:
        Such as `30.43 dB, SSIM 0.8637`.

    Example:
        >>> deepam_tf.restoration.cards.figures({"psnr": 30.4271, "ssim": 0.8637})
        '30.43 dB, SSIM 0.8637'
    """
    return ", ".join(form.format(result[key]) for key, form in _FIGURES.items() if key in result)


def card_page(name: str, card: dict[str, Any], *, metadata: bool = True) -> str:
    """A card in words: task, use, data and their licence, figures, limits.

    Args:
        name: name of the weights.
        card: their card.
        metadata: whether to begin with the block of metadata that model hubs read.

    Returns:
        Markdown.

    Example:
        >>> card = deepam_tf.pretrained.pretrained_card("denoise_gray")
        >>> "## Limits" in deepam_tf.restoration.cards.card_page("denoise_gray", card)
        True
    """
    training = card.get("training") or {}
    lines = [f"# {name}", "", _sentence(card.get("task", _UNKNOWN)), ""]
    if "noise_stddev" in card:
        level = card["noise_stddev"]
        low, high = (255 * x for x in (level if isinstance(level, list) else (level, level)))
        levels = f"{low:.4g}" if low == high else f"any from {low:.4g} to {high:.4g}"
        lines += [f"- Noise: sigma {levels}, of 255"]
    if "scale" in card:
        lines += [f"- Scales: {', '.join(str(scale) for scale in card['scale'])}"]
    lines += [f"- Restores: {restores(card)}", f"- Licence of the weights: {_licence(card)}", ""]
    lines += ["## Intended use", "", _sentence(card.get("intended_use", _UNKNOWN)), ""]
    lines += ["## Limits", "", _sentence(card.get("limits", _UNKNOWN)), ""]
    if card.get("results"):
        lines += ["## Results", "", "| test set | figures |", "|---|---|"]
        lines += [f"| {key} | {figures(value)} |" for key, value in card["results"].items()]
        lines += [""]
    lines += ["## Training", "", f"- Data: {training.get('data', _UNKNOWN)}"]
    lines += [f"- Licence of the data: {training.get('license', _UNKNOWN)}"]
    if training.get("command"):
        lines += [f"- Command: `{training['command']}`"]
    if training.get("summary"):
        lines += [f"- How: {training['summary']}"]
    if "hours" in training:
        lines += [f"- Hours: {training['hours']}"]
    lines += ["", "## From Python", "", "```python", "import deepam_tf", ""]
    lines += [f'model = deepam_tf.load_pretrained("{name}")', "```", ""]
    return (_metadata(name, card) if metadata else "") + "\n".join(lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _licence(card: dict[str, Any]) -> str:
    return card.get("license", _UNKNOWN)


def _metadata(name: str, card: dict[str, Any]) -> str:
    """The block between `---` at the top; strings of JSON are strings of YAML."""
    tags = ["deepam", "image-restoration", "keras", "tensorflow"]
    entries = {
        "model_name": name,
        "library_name": "keras",
        "pipeline_tag": "image-to-image",
        "license": card["license"].lower() if "license" in card else "unknown",
        "tags": tags,
    }
    return "".join(
        ["---\n", *(f"{key}: {json.dumps(value)}\n" for key, value in entries.items()), "---\n\n"]
    )
