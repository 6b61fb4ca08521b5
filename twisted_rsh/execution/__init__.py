"""Running commands on this machine."""
