"""Where classifiers come from: each file makes one library's networks a `Source`."""
