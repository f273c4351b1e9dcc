"""Find the items with the largest inner product, exactly or with Annoy."""
