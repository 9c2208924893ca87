"""What metrics share: examples and their undefined values, means, curves, intervals, pairs."""
