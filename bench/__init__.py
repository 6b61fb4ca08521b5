"""Measures a server next to other ones, and next to what the machine does without one.  See README.rst."""
