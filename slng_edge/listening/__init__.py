"""Deciding when somebody speaks, pure: frames in, events out."""
