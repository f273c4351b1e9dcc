"""Turn events into vectors: Item2Vec, user vectors, and what answers a query."""
