"""Classes of our own as ordinary transformers classes: found by name, loaded by trust or by import.

Importing the module that defines them registers them with the auto classes, so a folder loads
without any trust flag. Without this import it loads with `trust_remote_code=True`: every saved
folder holds `sentinel_remote.py`, which does nothing but import these modules.
"""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM

_REMOTE_FILE = "sentinel_remote.py"
_PUBLISHED: dict[str, list[str]] = {}


def named(cls: Any, name: str) -> Any:
    """A class that a function made, under the name by which it is found."""
    cls.__name__ = cls.__qualname__ = name
    return cls


def auto_map(config_name: str, model_name: str) -> dict[str, str]:
    """Where transformers finds the classes of a saved folder."""
    module = _REMOTE_FILE.removesuffix(".py")
    return {
        "AutoConfig": f"{module}.{config_name}",
        "AutoModelForCausalLM": f"{module}.{model_name}",
    }


def publish(module: str, config_class: Any, model_class: Any) -> None:
    """Register a pair with the auto classes, and import it in every folder that is saved.

    Args:
        module: Where both are attributes of the module.
        config_class: Its `model_type` is not known to transformers yet.
        model_class: Belongs to it.
    """
    _PUBLISHED.setdefault(module, []).extend([config_class.__name__, model_class.__name__])
    AutoConfig.register(config_class.model_type, config_class)
    AutoModelForCausalLM.register(config_class, model_class)


def write_remote(folder: Path) -> None:
    """Write the module that `auto_map` points to."""
    # all names, not only the folder's own: transformers keeps one copy for folders of one name
    lines = [
        f"from {module} import {', '.join(names)}  # noqa: F401\n"
        for module, names in sorted(_PUBLISHED.items())
    ]
    (folder / _REMOTE_FILE).write_text("".join(lines))
