"""``trshctl``: what a client does besides running commands; ``trsh`` has the grammar of ``ssh``, and no word for it."""
