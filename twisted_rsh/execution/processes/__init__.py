"""Processes: their descriptors, pipes and terminals, how one is started and how its exit is seen."""
