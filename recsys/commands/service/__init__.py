"""The web service, and what its experiments found: one file a verb, as in the folder above."""
