"""Tests of the fault transport."""
