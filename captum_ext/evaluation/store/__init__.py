"""Where results are kept, and whether what is kept is of the same run."""
