"""Tests of the observers that write an audit log and serve metrics."""
