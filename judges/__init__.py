"""Kinds of judge, one file each."""
