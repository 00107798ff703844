"""What `doctor` looks at: one file a check, with what is seen apart from what it means."""
