"""Sound in and out: sources, sinks, the ring buffer, and the threads that run them."""
