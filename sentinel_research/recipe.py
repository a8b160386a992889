"""From a recipe and `--set` overrides to a validated Recipe that knows where each value is from.

Recipes are data: `yaml.safe_load`, no code. A recipe is found by the name of one that ships with
the package (`sentinel ls recipes`) or by the path of a YAML file.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.specs import Recipe

RECIPE_FOLDER = Path(__file__).parent / "recipes"
S = TypeVar("S", bound=BaseModel)
_OUTSIDE = re.compile(r"[^a-z0-9_]+")
_TRAINED_BY = {
    "model.architecture": "--architecture",
    "train.corpus": "--corpus",
    "train.num_steps": "--steps",
}


class _Loader(yaml.SafeLoader):
    """YAML without code, in which no key is given twice: a plain load keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, or a YAMLError that names the key and its line."""
        seen = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key `{key_node.value}` is given twice",
                        problem_mark=key_node.start_mark,
                    )
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


class ResolvedRecipe(NamedTuple):
    """A recipe with the origin of every value."""

    recipe: Recipe
    sources: dict[str, str]
    """Dotted key -> `recipe NAME`, `--set` or `default`."""
    path: Path
    """The file the recipe was read from."""


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with the package."""
    return {path.stem: path for path in sorted(RECIPE_FOLDER.glob("*.yaml"))}


def load_recipe(name: str, overrides: Iterable[str] = ()) -> ResolvedRecipe:
    """Read, override and validate a recipe.

    Args:
        name: A shipped recipe's name, or the path of a YAML file.
        overrides: `key=value` with a dotted key (`prune.fractions=[0,0.5]`); values are YAML.

    Raises:
        UsageError: for an unknown recipe, file, key or value.
    """
    path = _find(name)
    return _resolve(read_yaml(path), path, overrides)


def load_training(
    name: str | None, settings: Mapping[str, Any], overrides: Iterable[str] = ()
) -> ResolvedRecipe:
    """A recipe that trains one architecture and measures nothing.

    Args:
        name: Recipe whose `data`, `model` and `train` are taken; None begins with nothing.
        settings: Values by dotted key, such as `train.num_steps`.
        overrides: As in `load_recipe`; they win over the settings.

    Raises:
        UsageError: for an unknown recipe, key or value, or one that trains no single model.
    """
    path = Path("command line") if name is None else _find(name)
    content = {} if name is None else read_yaml(path)
    if "compare" in content:
        raise UsageError(
            f"the recipe {path.name} compares architectures and trains no single one",
            f"sentinel run {name} trains them all; or give --architecture and its corpus",
        )
    sections = ("data", "model", "train")
    kept: dict[str, Any] = {key: content[key] for key in sections if key in content}
    overrides = list(overrides)
    named = {override.partition("=")[0] for override in overrides}
    lacking = [
        flag for key, flag in _TRAINED_BY.items() if key not in {*_leaves(kept), *settings, *named}
    ]
    if lacking:
        raise UsageError(
            f"not enough to train: {' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} "
            "missing",
            "for example: sentinel train --architecture gpt2 --corpus synthetic --steps 100; or "
            "name a recipe that trains. See: sentinel train --help",
        )
    architecture = settings.get("model.architecture", (kept.get("model") or {}).get("architecture"))
    base = Path(path.name).stem if name is not None else architecture or "model"
    kept["name"] = f"train-{str(base).lower()}"
    kept["description"] = f"Trains {architecture or 'a model'} from scratch."
    kept["evaluate"] = {"tasks": []}
    return _resolve(kept, path, overrides, settings)


def load_evaluation(
    model: str, settings: Mapping[str, Any], overrides: Iterable[str] = ()
) -> ResolvedRecipe:
    """A recipe that measures one model as it is.

    Args:
        model: Its folder or hub id.
        settings: Values by dotted key, such as `evaluate.tasks`.
        overrides: As in `load_recipe`; they win over the settings.

    Raises:
        UsageError: for an unknown key or value.
    """
    short = _OUTSIDE.sub("-", Path(model).name.lower()).strip("-_") or "model"
    content = {"name": f"evaluate-{short}", "description": f"Measures {model} as it is."}
    named = {"model.pretrained": model, **settings}
    return _resolve(content, Path("command line"), overrides, named)


def _resolve(
    content: dict[str, Any],
    path: Path,
    overrides: Iterable[str],
    settings: Mapping[str, Any] | None = None,
) -> ResolvedRecipe:
    given = dict.fromkeys(_leaves(content), f"recipe {path.name}")
    for key, value in (settings or {}).items():
        _assign(content, key, value, f"{key}={value}")
        given.update(dict.fromkeys(_leaves(value, key), "command line"))
    for override in overrides:
        key, value = _split_override(override)
        _assign(content, key, value, override)
        given = {k: v for k, v in given.items() if k != key and not k.startswith(f"{key}.")}
        given.update(dict.fromkeys(_leaves(value, key), "--set"))
    recipe = parse(Recipe, content, path.name)
    sources = {key: given.get(key, "default") for key in _leaves(recipe.model_dump(mode="json"))}
    return ResolvedRecipe(recipe, sources, path)


def parse(spec: type[S], content: Any, where: str) -> S:
    """Validate a mapping as a spec, with an error a person can act on.

    Args:
        spec: The pydantic class.
        content: What was read.
        where: Where it was read, for the message.

    Raises:
        UsageError: naming the key, its value, and what is accepted.
    """
    if not isinstance(content, Mapping):
        raise UsageError(
            f"{where}: expected a mapping of keys, got {type(content).__name__}",
            f"{spec.__name__} has the keys {', '.join(spec.model_fields)}",
        )
    try:
        return spec.model_validate(content)
    except ValidationError as error:
        raise usage_error(spec, error, where) from error


def usage_error(spec: type[BaseModel], error: ValidationError, where: str) -> UsageError:
    """What a person needs of pydantic's error.

    Args:
        spec: The class that refused.
        error: Its error.
        where: Where the values were read.
    """
    messages, hints = [], []
    for problem in error.errors():
        message, hint = _explain(spec, problem)
        messages.append(f"{where}: {message}")
        if hint and hint not in hints:
            hints.append(hint)
    return UsageError("\n".join(messages), "\n  ".join(hints))


def _explain(spec: type[BaseModel], problem: Any) -> tuple[str, str]:
    location = [part for part in problem["loc"] if isinstance(part, str)]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        owner = _spec_at(spec, location[:-1])
        return f"unknown key `{key}`", did_you_mean(location[-1], owner.model_fields)
    if problem["type"] == "missing":
        return f"the key `{key}` is missing", ""
    if problem["type"] == "value_error":
        text = str(problem["ctx"]["error"])
        return (f"`{key}`: {text}" if key else text), ""
    return f"`{key}` = {problem['input']!r}: {problem['msg'].lower()}", ""


def _spec_at(spec: type[BaseModel], location: list[str]) -> type[BaseModel]:
    """The spec that owns the last key of a location."""
    names = iter(location)
    for name in names:
        annotation = spec.model_fields[name].annotation
        spec = _specs_in(annotation)[0]
        if get_origin(annotation) is dict:
            # the name that the user chose, such as a variant's
            next(names)
    return spec


def _specs_in(annotation: Any) -> list[type[BaseModel]]:
    """The specs that an annotation names, also as one of several types or as values of a dict."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _specs_in(part)]


def _find(name: str) -> Path:
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.is_file():
        return path
    looks_like_path = path.suffix in {".yaml", ".yml"} or len(path.parts) > 1
    what = f"there is no recipe file {name}" if looks_like_path else f"unknown recipe '{name}'"
    raise UsageError(
        what,
        f"{did_you_mean(name, shipped)} Or pass the path of a YAML file. See: sentinel ls recipes",
    )


def read_yaml(path: Path, spec: type[BaseModel] = Recipe) -> dict[str, Any]:
    """The mapping in a YAML file; no key is given twice, and there is no code in it.

    Args:
        path: The file.
        spec: What it is to become, for the message.

    Raises:
        UsageError: if it cannot be read, or is no mapping.
    """
    kind = spec.__name__.lower()
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the {kind} {path}: {error}", f"a {kind} is YAML") from error
    if not isinstance(content, dict):
        raise UsageError(
            f"{path}: a {kind} is a mapping of keys, got {type(content).__name__}",
            f"its keys are {', '.join(spec.model_fields)}",
        )
    return content


def _split_override(override: str) -> tuple[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UsageError(
            f"--set {override!r} is not of the form key=value",
            "for example: --set prune.fractions=[0,0.5] --set evaluate.limit=10",
        )
    try:
        return key, yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.YAMLError as error:
        raise UsageError(f"--set {override!r}: the value is not YAML: {error}") from error


def _assign(content: dict[str, Any], key: str, value: Any, override: str) -> None:
    *parents, last = key.split(".")
    node = content
    for parent in parents:
        child = node.setdefault(parent, {})
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise UsageError(
                f"--set {override!r}: `{parent}` holds a value, not keys",
                f"set `{parent}` itself",
            )
        node = child
    node[last] = value


def _leaves(content: Any, prefix: str = "") -> list[str]:
    if isinstance(content, dict) and content:
        return [
            leaf
            for key, value in content.items()
            for leaf in _leaves(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [prefix]
