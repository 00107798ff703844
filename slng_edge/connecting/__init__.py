"""Decides, without a socket, thread or clock, when to connect, to which model, and how often."""
