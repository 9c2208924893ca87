"""What `explain` does with one image: maps are made, their curves are read."""
