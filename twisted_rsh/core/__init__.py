"""The protocol as a pure object: it takes frames and the time, and returns events and frames.

Nothing here performs I/O, reads a clock, draws a random number or imports Twisted; ``tests/test_layers.py`` checks it.
"""
