"""What hears a wake word: the libraries that score, and the choice between them."""
