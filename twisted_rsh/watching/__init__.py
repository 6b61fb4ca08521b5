"""Observers of a server that write an audit log and serve metrics.

They stand on top of the server and use its public names alone, as an application's own observers do.
"""
