"""A step of training noted once as a straight line of NumPy calls, and replayed with the same bits."""
