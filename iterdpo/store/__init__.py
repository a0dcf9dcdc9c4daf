"""The store: content keys, atomic writes, record tables and stages."""
