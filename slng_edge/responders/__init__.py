"""What answers: text in, text out, cancellable."""
