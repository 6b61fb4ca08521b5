"""The options of a server: their values, and the file that gives them together with the command line."""
