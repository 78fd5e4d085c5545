"""What a wheel holds beside the package: the files from which `graft init` starts a project.

Not where graft is installed from a checkout for development: there they are read where they lie, and a folder `graft`
among the installed packages could be imported in the place of graft.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TemplateHook(BuildHookInterface):  # type: ignore[type-arg]
    """Configured under [tool.hatch.build.targets.wheel.hooks.custom]. files: below the repository's root."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"] |= {name: f"graft/project/template/{name}" for name in self.config["files"]}
