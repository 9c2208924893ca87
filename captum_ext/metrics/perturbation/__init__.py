"""Insertion and deletion: the model's answer while ranked features come or go."""
