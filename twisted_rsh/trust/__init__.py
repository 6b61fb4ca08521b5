"""Who the peers are: keys, pins, records and who may log in."""
