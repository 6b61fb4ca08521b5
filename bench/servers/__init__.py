"""The measured ends: what starts each kind of server, and the servers of the peers that are libraries."""
