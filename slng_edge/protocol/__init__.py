"""The wire, pure: messages in, events out. No socket, no thread, no clock."""
