"""Hold one fitted model: fit it, ask it, change it, store it."""
