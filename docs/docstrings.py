"""For the API reference: an `Example:` section of a docstring is code, as `Examples:` is."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["ExampleSections"]


class ExampleSections(griffe.Extension):
    """Renames the section where the parser knows only its plural."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called with each object of the package, its docstring not yet parsed."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE
            )
