"""The running service: parts put together, started, watched, stopped."""
