"""`sentinel ls`: names with one-line descriptions and references."""

from pathlib import Path

from sentinel_research import registry


def listing(kind: str) -> list[str]:
    """Lines of `name  description  [reference]`, sorted by name.

    Args:
        kind: recipes, scorers, tasks, corpora, architectures, recoveries, or launch: what
            `accelerate launch --config_file` takes.
    """
    rows = _ROWS[kind]() if kind in _ROWS else _plugins(kind)
    if not rows:
        return [f"no {kind} are registered"]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _plugins(group: str) -> list[tuple[str, str]]:
    found = (registry.get(group, name) for name in registry.names(group))
    return [(plugin.name, _described(plugin)) for plugin in found]


def _described(plugin: registry.Plugin) -> str:
    """One line: what it does, for which units, with or without text, and where it comes from."""
    units = f" ({', '.join(plugin.units)})" if plugin.units else ""
    text = ", reads text" if plugin.calibrated else ""
    return f"{plugin.summary}{text}{units} [{plugin.reference}]"


def _recipes() -> list[tuple[str, str]]:
    from sentinel_research.recipe import load_recipe, shipped_recipes

    return [(name, load_recipe(name).recipe.description.strip()) for name in shipped_recipes()]


def _tasks() -> list[tuple[str, str]]:
    from sentinel_research.data.tasks import list_tasks

    return list_tasks()


def _corpora() -> list[tuple[str, str]]:
    from sentinel_research.data.catalogue import CORPORA

    return [
        (name, f"{corpus.summary} [{corpus.reference}]") for name, corpus in sorted(CORPORA.items())
    ]


def _launch() -> list[tuple[str, str]]:
    """Every file by its path, with the comment that it begins with."""
    from importlib.resources import files

    folder = Path(str(files("sentinel_research"))) / "launch"
    found = sorted(folder.glob("*.yaml"))
    return [(str(path), path.read_text().splitlines()[0].removeprefix("# ")) for path in found]


_ROWS = {"recipes": _recipes, "tasks": _tasks, "corpora": _corpora, "launch": _launch}
