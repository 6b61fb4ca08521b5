"""Tells ``twistd`` and ``twist`` that there is a service named ``rsh``."""

from twisted.application.service import ServiceMaker

remote_shell = ServiceMaker(
    "twisted-rsh",
    "twisted_rsh.tap",
    "A remote shell: runs commands for users who log in with a key.",
    "rsh",
)
