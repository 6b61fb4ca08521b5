"""The control group of this machine's tests: whether there is one to be had."""

from __future__ import annotations

from twisted_rsh.execution.trees.control_group import ControlGroup, ControlGroupUnavailable

__all__ = ["why_unavailable"]


def why_unavailable() -> str | None:
    """Say why this process can have no control group; ``None`` when it can.

    A test of what only the kernel can do asks, and where there is none checks what a server does without.
    """
    group = ControlGroup()
    try:
        group.create()
        group.enter()
    except ControlGroupUnavailable as e:
        return str(e)
    group.leave()
    return None
