"""Build hook: an editable install gets the `.pth` file, but no second copy of the task folder."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PTH = "sentinel_research/lm_eval_plugin/zz_sentinel_research.pth"


class EditableIncludes(BuildHookInterface[Any]):
    """Replaces the wheel's `force-include` table in editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build with `version` `standard` or `editable`."""
        if version == "editable":
            build_data["force_include_editable"] = {_PTH: "zz_sentinel_research.pth"}
