"""``python -m twisted_rsh.files [FOLDER]``: serve SFTP on stdin and stdout; relative paths begin at the folder."""

from __future__ import annotations

import os
import signal
import sys

from twisted_rsh.files.conversation import BrokenConversation, Conversation

__all__ = ["main"]


def main() -> int:
    """Serve one client to the end of its input.

    :returns: the exit status: 0, or 1 when the client broke the protocol, left, or the folder cannot be entered; then
        stderr has one line, unless the client left.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt ends the process without a traceback
    try:
        if len(sys.argv) > 1:
            os.chdir(os.fsencode(sys.argv[1]))
        Conversation(sys.stdin.fileno(), sys.stdout.fileno()).run()
    except BrokenPipeError:
        return 1
    except (BrokenConversation, OSError) as error:
        print(f"sftp: {ascii(str(error))[1:-1]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
