"""A functional, stateless neural-network toolkit on NumPy."""
