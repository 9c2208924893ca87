"""Sanity checks: does a map change with the model that it claims to explain?"""
