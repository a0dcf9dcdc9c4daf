"""``python -m iterdpo.store``: what the store holds, why, and what of it nobody needs."""
