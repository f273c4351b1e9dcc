"""Check tables: columns, ids, ratings, times, repeated rows, items; no file is opened here."""
