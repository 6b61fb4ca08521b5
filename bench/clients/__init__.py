"""The measuring ends: one module for each kind of client, each run as a process of its own."""
