"""Hold the verbs of the command line, one file each."""
