"""Promises about sessions that lose their connections, shown end to end (design section 5.5, M)."""
