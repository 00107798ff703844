"""Deciding who speaks next, pure: events in, actions out."""
