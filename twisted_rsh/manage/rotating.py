"""``twisted-rsh rotate``: give the server another key, which the clients learn before the server shows it."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_rsh.server.control_client import Problem, config_folders
from twisted_rsh.trust.rotation import begin_rotation, finish_rotation

__all__ = ["RotateOptions", "rotate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateOptions:
    """The options of ``twisted-rsh rotate``.

    :ivar config_dir: the folder of the keys and records, or ``None`` for the XDG folders.
    :ivar finish: whether to end the rotation, instead of beginning it.
    """

    config_dir: str | None = None
    finish: bool = False


def rotate(options: RotateOptions) -> str:
    """Begin a rotation, or end it.

    :param options: the options.
    :returns: the lines to print.
    :raises Problem: the user has no home folder, or a file cannot be written.
    :raises twisted_rsh.trust.rotation.NoRotation: there is none to end.
    :raises twisted_rsh.trust.files.FileProblem: a file cannot be used as it is.
    """
    config = config_folders(options.config_dir)
    try:
        if options.finish:
            key = finish_rotation(config)
            return f"the server's key is {key.fingerprint} from its next start on; restart it\n"
        current, following = begin_rotation(config)
    except OSError as error:
        raise Problem(f"{error.filename}: {error.strerror}") from None
    return (
        f"the server's key is {current.fingerprint}\n"
        f"the next key is {following.fingerprint}\n"
        "clients learn the next key when they log in; when all have, run: twisted-rsh rotate --finish\n"
    )
