"""The protocol as a pure object: frames and the time in, events and frames out.

Nothing here performs I/O, reads a clock, draws a random number or imports Twisted; ``tests/test_layers.py`` holds that.
"""
