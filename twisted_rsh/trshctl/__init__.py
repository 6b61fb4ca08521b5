"""``trshctl``: what a client does beside running commands; ``trsh`` has the grammar of ``ssh``, and no word for it."""
