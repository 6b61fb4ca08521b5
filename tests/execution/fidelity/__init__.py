"""The fidelity of persistent shells: what the plain shell makes of a sequence of commands, and what ours does."""
