"""A shell that runs one command after another and remembers what each of them did."""
