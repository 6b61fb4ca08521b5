"""The program ``trsh``: the command line, the console, scripts, and the terminal."""
