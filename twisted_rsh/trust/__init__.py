"""The identities of peers: keys, fingerprints, records of servers, and the keys that may log in."""
