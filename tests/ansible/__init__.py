"""The tests of ``twisted_rsh/ansible``."""
