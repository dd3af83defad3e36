"""The action plugin of config_files: renders the templates on the control machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar
from ansible_collections.clink.django_stack.plugins.module_utils import diagnosis

REFUSED = "Nothing was replaced: the application does not work with the new files. It says:"


class _Variables(dict[str, Any]):
    """Variables that no template changes: the lookup, which copies them in depth, gets a flat copy.

    The copies took half of the time of a template.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        """Return a flat copy."""
        return dict(self)


def render(source: str, variables: dict[str, Any], loader: DataLoader, templar: Templar) -> str:
    """Return the text of a template, as ansible.builtin.template would write it."""
    lookup = lookup_loader.get("ansible.builtin.template", loader=loader, templar=templar)
    return str(lookup.run([source], _Variables(variables))[0])


class ActionModule(ActionBase):
    """Replaces the template of each file by its text."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Render the templates and run the module."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        files = []
        secrets: dict[str, str] = {}
        for given in arguments.get("files") or []:
            if not isinstance(given, dict) or "dest" not in given:
                raise AnsibleActionFail(
                    f"files: each entry is a dictionary with dest, not {given!r}"
                )
            file = dict(given)
            own = file.pop("vars", {})
            if source := file.pop("src", None):
                named = {**variables, **own}
                file["content"] = render(str(source), named, self._loader, self._templar)
            elif source := file.pop("copy", None):
                file["content"] = Path(source).read_text(encoding="utf-8")
            elif file.get("state", "file") == "file" and "content" not in file:
                raise AnsibleActionFail(f"{file['dest']}: src, copy or content is missing")
            if file.get("secret"):
                secrets[str(file["dest"])] = file.pop("content", "")
            files.append(file)
        told = self._execute_module(
            module_name="clink.django_stack.config_files",
            module_args={**arguments, "files": files, "secrets": secrets},
            task_vars=variables,
        )
        result = dict(told)
        if "refused" in result:
            result["msg"] = diagnosis.report(REFUSED, str(result.pop("refused")))
        return result
