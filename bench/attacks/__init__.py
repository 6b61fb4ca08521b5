"""Attacks on a real server, each a program that says what it saw."""
