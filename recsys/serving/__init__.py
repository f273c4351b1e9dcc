"""Serve a saved model over HTTP, learn from what users do, and compare models (extra "serve")."""
