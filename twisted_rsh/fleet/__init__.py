"""One command on many hosts: lists of hosts, the fleet that runs the command, and what the hosts wrote.

:class:`~twisted_rsh.fleet.run.Fleet` runs the command, :mod:`~twisted_rsh.fleet.host_lists` reads the hosts, and
:mod:`~twisted_rsh.fleet.spool` keeps their output.  All of it stands on the public names of the package.
"""
