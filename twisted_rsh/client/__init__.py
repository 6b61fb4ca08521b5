"""The client library; :mod:`twisted_rsh` exports its public names."""
