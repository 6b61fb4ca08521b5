"""Run commands on another machine over one authenticated connection.

``twistd rsh --port 8082`` is the server, ``python -m twisted_rsh.client`` the client; :mod:`twisted_rsh.server` and
:mod:`twisted_rsh.client` put either into a Twisted application.
"""
