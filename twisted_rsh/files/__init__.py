"""A small SFTP server for systems that have none: protocol 3 with the extensions of OpenSSH.

``python -m twisted_rsh.files`` speaks it on stdin and stdout, as the user that runs it.  It knows nothing of the rest
of this package, and is one thread that blocks: while replies are not read it reads no requests.

The protocol is draft-ietf-secsh-filexfer-02; OpenSSH's file ``PROTOCOL`` describes the extensions.
"""
