"""Tests of ``twisted_rsh.trshctl``."""
