"""One transport connection: frames on TLS, their limits and deadlines."""
