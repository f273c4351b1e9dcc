"""The commands: one file a verb, here and in the folders here, and what they share in `common`."""
