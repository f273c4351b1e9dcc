"""What the saved model is asked: one file a verb, as in the folder above."""
