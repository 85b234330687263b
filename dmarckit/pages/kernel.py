"""Kernels of the Python that runs dmarckit, whatever else is installed as ``python3``."""

from __future__ import annotations

from pathlib import Path

import zmq
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

from dmarckit.core.language import language
from dmarckit.core.redact import withheld_variables
from dmarckit.core.settings import CONFIG_VARIABLE, PREFIX

RENDERER = {"PLOTLY_RENDERER": "plotly_mimetype"}
"""charts as data: pages draw them with one plotly.js, JupyterLab with its extension"""


class OwnKernels(KernelSpecManager):
    """Knows one kernel, ``python3``: this environment's."""

    environment: dict[str, str] = RENDERER
    """variables of the kernel beside those of this process"""
    arguments: tuple[str, ...] = ()
    """further arguments of its command"""

    def find_kernel_specs(self) -> dict[str, str]:
        """The kernel's name and the folder of its logos."""
        return {"python3": RESOURCES}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """This environment's kernel, for whatever name a notebook asks."""
        about = get_kernel_dict(list(self.arguments)) | {"display_name": "Python (dmarckit)"}
        return KernelSpec(**about | {"env": self.environment}, resource_dir=RESOURCES)


def own_kernel(folder: Path, config: str | None) -> type[AsyncKernelManager]:
    """Kernels that run a notebook for a page: without secrets, and with `folder` for theirs."""
    values = {
        **RENDERER,
        **withheld_variables(),
        # what cells say and what the page says around them are in one language
        f"{PREFIX}LANGUAGE": language(),
        # neither the user's start-up files nor a history shared with other kernels
        "IPYTHONDIR": str(folder / ".ipython"),
    }
    if config:
        values[CONFIG_VARIABLE] = config

    class PageKernels(OwnKernels):
        environment = values
        # the end of a run interrupts the kernel, which would say so on the terminal
        arguments = ("--IPKernelApp.log_level=CRITICAL",)

    class PageKernel(AsyncKernelManager):
        @default("transport_encryption")
        def _encrypt(self) -> str:
            return "auto" if zmq.has("curve") else "disabled"

        @default("kernel_spec_manager")
        def _own_specs(self) -> KernelSpecManager:
            return PageKernels()

    return PageKernel
