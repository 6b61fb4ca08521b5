"""The processes of a job: who belongs to it, what they use, and how the last of them is ended."""
