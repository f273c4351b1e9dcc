"""Read ratings and items, check them, and order them into events."""
