"""What the command is given: models, pictures, folders, labels, annotations."""
