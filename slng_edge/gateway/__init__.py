"""Sessions with the gateway: sockets, threads and deadlines around the pure protocol."""
