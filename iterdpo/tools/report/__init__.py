"""A run, or a whole sweep, as one HTML page that needs nothing but itself."""
