"""``twisted-rsh``: what the account of a server does with it beside running it."""
