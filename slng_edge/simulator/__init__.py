"""The local gateway: the other side of the protocol, with faults on demand."""
