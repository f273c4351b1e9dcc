"""Answer one question a file with an evaluation of its own."""
