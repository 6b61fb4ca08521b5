"""``twisted-rsh``: what the account of a server does with it besides running it."""
